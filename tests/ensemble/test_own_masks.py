"""Masks of any models under any names: which are read, which are left out, and what needs pictures."""

import json
import shutil

import numpy as np
import pytest
from helpers.tiny import FRAMES, MODELS, H, W
from PIL import Image

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.no_pictures import NoPictures
from rvos_ensemble.adapters.files import Files
from rvos_ensemble.ensemble.ablation import variants
from rvos_ensemble.ensemble.engine.clips import list_clips
from rvos_ensemble.ensemble.recipe.config import loading
from rvos_ensemble.ensemble.recipe.recipe import load
from rvos_ensemble.ensemble.recipe.recipe_edits import without_sources

FLOW = ["propagators.aot.propagator=flow", "propagators.deaot.propagator=flow"]
ONE = ["engine.backend=sequential", "report=false"]


def problems(*arguments: str, **values) -> str:
    """What is wrong with a recipe."""
    with pytest.raises(InputError) as error:
        list_clips(load([*arguments], values))
    return "\n".join(error.value.problems)


@pytest.fixture
def named(tiny):
    """The masks of `tiny` under names that no recipe knows, one of them as a zip."""
    preds = tiny.root / "predictions"
    (preds / "soc").rename(preds / "osvos v2")
    (preds / "soc.scores.json").rename(preds / "osvos v2.scores.json")
    shutil.make_archive(str(preds / "rvos"), "zip", preds / "mutr")
    shutil.rmtree(preds / "mutr")
    (preds / "notes.txt").write_text("of Monday")
    return preds


def data_of(tiny) -> list[str]:
    return ["data=ref_youtube_vos", f"data.root={tiny.root}"]


# ------------------------------------------------------------------------------------------------------ recipe=vote
def test_vote_fuses_what_lies_there(tiny, named, tmp_path):
    recipe = load(["recipe=vote", f"predictions={named}/"])
    assert recipe.steps["vote"].inputs == ["osvos_v2", "referformer", "rvos"], "natural order; a name a recipe can have"
    assert recipe.sources["osvos_v2"].settings.path == f"{named}/osvos v2"
    assert recipe.config["data"]["dataset"] == "masks"
    three = load(["recipe=vote", f"predictions={named}", *data_of(tiny), f"out={tmp_path / 'out'}", *ONE])
    assert (
        run_ensemble.main(["recipe=vote", f"predictions={named}", *data_of(tiny), f"out={tmp_path / 'out'}", *ONE]) == 0
    )
    for clip in list_clips(three).clips:
        masks = [source.predict(clip) for source in three.sources.values()]
        for e in clip.expressions:
            for t, frame in enumerate(clip.frames):
                votes = sum(m[e.id].mask(t).astype(int) for m in masks)
                written = Image.open(tmp_path / "out" / "Annotations" / clip.name / e.id / f"{frame}.png")
                assert ((np.array(written) > 0) == (votes >= 2)).all()


def test_some_of_what_lies_there(named, tmp_path):
    vote, folder = "recipe=vote", f"predictions={named}"
    for arguments in (["sources=[osvos_v2,rvos]"], ["drop=[referformer]"], ["drop=referformer"]):
        recipe = load([vote, folder, *arguments])
        assert recipe.steps["vote"].inputs == ["osvos_v2", "rvos"] == [*recipe.sources]
        assert recipe.config["data"]["of"] == recipe.config["sources"], "what is left out lists no videos"
    assert load([vote, folder, "sources=rvos"]).steps["vote"].inputs == ["rvos"]
    assert load([vote, folder], {"sources": ["rvos"], "drop": []}).steps["vote"].inputs == ["rvos"]
    assert load([vote, folder, "sources.rvos=null"]).steps["vote"].inputs == ["osvos_v2", "referformer"]
    assert load([vote, folder, "sources.rvos.objects=any"]).sources["rvos"].settings.objects == "any"
    own = tmp_path / "own.yaml"
    own.write_text(
        f"base: vote\npredictions: {named}\nsources: [rvos, referformer]\nsteps: {{vote: {{threshold: 2}}}}\n"
    )
    assert load([f"recipe={own}"]).steps["vote"].inputs == ["referformer", "rvos"]
    assert load([f"recipe={own}", "sources=[rvos]"]).steps["vote"].inputs == ["rvos"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "it has no sources: give predictions=FOLDER, with a folder or file of masks for each model"),
        (
            ["predictions={}", "sources=[rvoss]"],
            "unknown key `rvoss`, did you mean `rvos`? Valid: osvos_v2, referformer",
        ),
        (["predictions={}", "drop=[osvos]"], "drop: {}: unknown key `osvos`, did you mean `osvos_v2`?"),
        (["predictions={}", "drop=[osvos_v2,referformer,rvos]"], "nothing is left of osvos_v2, referformer, rvos"),
        (["predictions={}/nowhere"], "nowhere: no such folder"),
        (["predictions={}/rvos.zip"], "cannot be read: Not a directory"),
        (["predictions={}/osvos v2"], "of a single model, in Annotations/; expected the folder above"),
        (
            ["predictions={}/osvos v2/Annotations"],
            "a/Annotations/a: 0, 1, 2 in it are named like expressions, not videos",
        ),
        (["predictions={}", "map.soc=rvos"], "map is for a recipe with sources of its own"),
        (["predictions.rvos={}/rvos.zip"], "expected a folder; sources.NAME.path=PATH is for one source"),
    ],
)
def test_wrong_guesses_about_the_folder(named, arguments, message):
    found = problems("recipe=vote", *(a.replace("{}", str(named)) for a in arguments))
    wanted = message.replace("{}", str(named)).replace("a/Annotations/a", f"{named}/osvos v2/Annotations/a")
    assert wanted in found


def test_an_empty_folder(tmp_path):
    (tmp_path / "x.scores.json").write_text("{}")
    assert f"{tmp_path}: no masks in it; expected a folder or a file (.zip" in problems(
        "recipe=vote", f"predictions={tmp_path}"
    )


# -------------------------------------------------------------------------------------- recipes with names of their own
def test_a_recipe_with_names_of_its_own_says_what_is_there(tiny, named):
    stage1 = ["recipe=stage1", f"predictions={named}", *data_of(tiny), *FLOW[:1]]
    assert problems(*stage1) == (
        f"{named}: no masks of soc, mutr; it has osvos v2, referformer, rvos. map.soc=NAME takes one of them for the "
        "source soc, drop=[soc] leaves the source out, and recipe=vote fuses what is there"
    )
    mapped = [*stage1, "map.soc=osvos v2", "map.mutr=rvos"]
    recipe = load(mapped)
    assert [s.settings.path for s in recipe.sources.values()] == [
        f"{named}/{name}" for name in ("osvos v2", "rvos", "referformer")
    ]
    assert load(stage1, {"map": {"soc": "osvos v2", "mutr": "rvos"}}).config == recipe.config
    assert len(list_clips(recipe).clips) == 3
    assert "no masks of soc (osvos)" in problems(*stage1, "map.soc=osvos", "map.mutr=rvos")
    reversed_ = problems(*stage1, "map.osvos=soc")
    assert "map: unknown key `osvos`. Valid: mutr, referformer, soc; map.soc=osvos reads osvos as soc" in reversed_
    assert "map needs predictions=FOLDER" in problems("recipe=stage1", "map.soc=x")


def test_single_reads_a_source_of_any_name(tiny, named):
    recipe = load(["recipe=single", f"predictions={named}", "source=rvos", *data_of(tiny), *FLOW[:1]])
    assert recipe.sources["rvos"].settings.path == f"{named}/rvos" and len(list_clips(recipe).clips) == 3


def test_drop_is_what_ablate_sources_does(tiny):
    plain = load([*tiny.arguments, "steps.smr.weights={soc: 0.5, mutr: 0.3, referformer: 0.2}"])
    without = without_sources(plain.config, plain.steps, ["mutr"])
    dropped = load([*tiny.arguments, "steps.smr.weights={soc: 0.5, mutr: 0.3, referformer: 0.2}", "drop=[mutr]"])
    assert dropped.config == variants.build("tiny", without).config
    assert dropped.steps["smr"].inputs == ["soc", "referformer"] and dropped.steps["smr"].settings.weights == [0.5, 0.2]
    assert load([*tiny.arguments, "sources=[soc,referformer]"]).config["sources"] == dropped.config["sources"]
    of_ablation = [v for v in variants.of_sources(plain)[0] if v.label == "without mutr"]
    assert variants.build("tiny", of_ablation[0].config).config == dropped.config


def test_drop_removes_steps_that_have_nothing_left():
    recipe = load(["recipe=stage2", "predictions=masks", *FLOW, "drop=[uninext,mutr]"])
    assert [*recipe.sources] == ["soc", "referformer"] and "uninext_deaot" not in recipe.steps
    assert recipe.steps["final"].inputs == ["smr_aot", "soc_aot", "referformer_deaot"]
    assert recipe.steps["smr"].inputs == ["soc", "referformer"]
    assert "drop: smr is a step, expected sources" in problems("recipe=stage2", "drop=[smr]")
    assert "drop: unknown key `uninxt`, did you mean `uninext`?" in problems("recipe=stage2", "drop=[uninxt]")
    everything = "drop=[soc,mutr,referformer,uninext]"
    assert "nothing is left of final" in problems("recipe=stage2", everything)


def test_without_scores_once_for_the_recipe(tiny, tmp_path):
    for file in tiny.root.glob("predictions/*.scores.json"):
        file.unlink()
    plain = load(["recipe=lsvos2023", "predictions=masks", *FLOW])
    once = load(["recipe=lsvos2023", "predictions=masks", *FLOW, "without_scores=temporal"])
    rules = {n: s.settings.key_frame for n, s in once.steps.items() if s.propagator}
    assert len(rules) == 7 and rules.pop("mutr_aot")["without_scores"] == "agreement", "a step's own rule stays"
    assert all(rule == {"rule": "argmax", "without_scores": "temporal"} for rule in rules.values())
    assert plain.steps["soc_aot"].settings.key_frame == "argmax"
    assert "expected one of '', agreement, temporal, soft" in problems(*tiny.arguments, "without_scores=guess")
    run = [*tiny.arguments, "report=false", "engine.backend=sequential"]
    assert run_ensemble.main(["check", *run]) == 2
    assert run_ensemble.main(["check", *run, "without_scores=agreement"]) == 0


# ---------------------------------------------------------------------------------------------------------- no pictures
def test_votes_need_no_pictures(tiny, tmp_path, capsys):
    vote = ["recipe=vote", f"predictions={tiny.root}/predictions", *data_of(tiny)]
    full, bare = [*vote, f"out={tmp_path / 'full'}", *ONE], [*vote, f"out={tmp_path / 'bare'}", ONE[0]]
    assert run_ensemble.main(full) == 0
    shutil.rmtree(tiny.root / "valid" / "JPEGImages")
    capsys.readouterr()
    assert run_ensemble.main(["check", *bare]) == 0 and run_ensemble.main(bare) == 0
    table = "metrics.csv"
    assert (tmp_path / "bare" / table).read_bytes() == (tmp_path / "full" / table).read_bytes()
    assert (tmp_path / "bare" / "submission.zip").exists() and (tmp_path / "bare" / "report.html").exists()
    zipped = f"pred={tmp_path / 'bare' / 'submission.zip'}"
    assert run_ensemble.main(["evaluate", "protocol=ref_youtube_vos", f"gt={tiny.root}", zipped]) == 0
    capsys.readouterr()
    refused = [*tiny.arguments, "overlays=gif"]
    assert run_ensemble.main(refused) == 2
    printed = capsys.readouterr().err
    assert printed.count("error:") == 1, "once for all clips"
    assert (
        "valid/JPEGImages: no such folder, so that the data set has no pictures, which step smr_flow, overlays"
        in printed
    )


def test_the_size_is_that_of_the_masks(tiny):
    shutil.rmtree(tiny.root / "valid")
    recipe = load(["recipe=vote", f"predictions={tiny.root}/predictions", *data_of(tiny)])
    clips = list_clips(recipe).clips
    assert {clip.size for clip in clips} == {(H, W)} and all(isinstance(c.images, NoPictures) for c in clips)
    for use in (lambda c: c.read(0), lambda c: c.fingerprint):
        with pytest.raises(InputError, match="the data set has no pictures, but"):
            use(clips[0])
    unknown = NoPictures("JPEGImages")
    assert "no masks on disk state the size" in unknown.problems()[0] == unknown.inspect()[0]


def test_a_missing_video_among_pictures_is_an_error(tiny, capsys):
    shutil.rmtree(tiny.root / "valid" / "JPEGImages" / "a")
    recipe = load(["recipe=vote", f"predictions={tiny.root}/predictions", *data_of(tiny)])
    assert list_clips(recipe).clips[0].problems()


def test_your_own_folder_without_pictures(tiny, tmp_path):
    """Data set `folder` with annotations alone."""
    shutil.copytree(tiny.root / "valid" / "Annotations", tmp_path / "mine" / "Annotations")
    recipe = load(
        ["recipe=vote", f"predictions={tiny.root}/predictions", "data=folder", f"data.root={tmp_path / 'mine'}"]
    )
    clips = list_clips(recipe).clips
    assert [c.name for c in clips] == ["a", "b", "c"] and clips[0].frames == tuple(FRAMES)
    assert clips[0].size == (H, W) and clips[0].truth is not None and clips[0].problems() == []


# ---------------------------------------------------------------------------------------------------------- masks alone
def rewritten(path, masks: dict, form: str):
    """Masks {video: {expression: bool [T, H, W]}} in another format."""
    from pycocotools import mask as coco

    def rle(frame):
        code = coco.encode(np.asfortranarray(frame.astype(np.uint8)))
        return {"size": [*map(int, code["size"])], "counts": code["counts"].decode()}

    if form == "json":
        path.with_suffix(".json").write_text(
            json.dumps({v: {e: [rle(f) for f in m] for e, m in of.items()} for v, of in masks.items()})
        )
    elif form == "sa2va":
        entry = {
            v: {e: {"frames": FRAMES, "prediction_masks": [rle(f) for f in m]} for e, m in of.items()}
            for v, of in masks.items()
        }
        path.with_suffix(".json").write_text(json.dumps(entry))
    elif form == "npz":
        np.savez(path.with_suffix(".npz"), **{f"{v}/{e}/masks": m for v, of in masks.items() for e, m in of.items()})
    else:
        for v, of in masks.items():
            (path / v).mkdir(parents=True)
            for e, m in of.items():
                np.savez(path / v / f"{e}.npz", masks=m)


@pytest.mark.parametrize("form", ["json", "sa2va", "npz", "npz_tree"])
def test_every_format_says_what_it_contains(tmp_path, form):
    rng = np.random.default_rng(1)
    masks = {
        "v": {"0": rng.random((5, 6, 7)) > 0.5, "10": rng.random((5, 6, 7)) > 0.5},
        "w": {"2": np.ones((5, 6, 7), bool)},
    }
    rewritten(tmp_path / "one", masks, form)
    files = Files(path=str(tmp_path / "one"))
    assert files.size("v") == (6, 7) and files.size("nowhere") is None
    names = tuple(FRAMES) if form == "sa2va" else ("00000", "00001", "00002", "00003", "00004")
    assert {v: (o.frames, set(o.expressions)) for v, o in files.outlines().items()} == {
        "v": (names, {"0", "10"}),
        "w": (names, {"2"}),
    }
    recipe = load(["recipe=vote", f"predictions={tmp_path}"])
    clips = list_clips(recipe).clips
    assert [(c.name, [e.id for e in c.expressions], c.size) for c in clips] == [
        ("v", ["0", "10"], (6, 7)),
        ("w", ["2"], (6, 7)),
    ]
    read = recipe.sources["one"].predict(clips[0])
    assert all((read[e].mask(t) == masks["v"][e][t]).all() for e in ("0", "10") for t in range(5))


def label_video(folder, values, palette=False):
    folder.mkdir(parents=True)
    for t, v in enumerate(values):
        Image.fromarray(np.uint8(v), "L").save(folder / f"{t:05d}.png")


def test_label_maps_without_a_data_set(tmp_path):
    one = [[[0, 255], [255, 0]], [[0, 0], [0, 0]]]
    label_video(tmp_path / "p" / "m1" / "v", one)
    label_video(tmp_path / "p" / "m2" / "v", [[[0, 3], [0, 255]], [[0, 3], [3, 0]]])
    recipe = load(["recipe=vote", f"predictions={tmp_path / 'p'}"])
    (clip,) = list_clips(recipe).clips
    assert [(e.id, e.objects) for e in clip.expressions] == [("0", ())]
    first, second = (recipe.sources[n].predict(clip)["0"] for n in ("m1", "m2"))
    assert first.mask(0).tolist() == [[False, True], [True, False]] and not first.mask(1).any()
    assert second.mask(0).tolist() == [[False, True], [False, False]], "255 beside an object is undecided"
    label_video(tmp_path / "q" / "m1" / "v", [[[1, 2], [0, 255]], [[7, 0], [0, 0]]])
    recipe = load(["recipe=vote", f"predictions={tmp_path / 'q'}"])
    (clip,) = list_clips(recipe).clips
    assert [(e.id, e.objects) for e in clip.expressions] == [(i, (i,)) for i in "127"]
    assert recipe.sources["m1"].predict(clip)["7"].mask(1).tolist() == [[True, False], [False, False]]
    shutil.copytree(tmp_path / "p" / "m1", tmp_path / "q" / "m2")
    assert "masks of one object in some sources, of objects 1, 2, 7 in others" in problems(
        "recipe=vote", f"predictions={tmp_path / 'q'}"
    )


def test_several_objects_where_only_one_is_meant(tmp_path):
    label_video(tmp_path / "p" / "m" / "v", [[[1, 2], [0, 0]]])
    label_video(tmp_path / "d" / "Annotations" / "v", [[[1, 0], [0, 0]]])
    recipe = load(["recipe=vote", f"predictions={tmp_path / 'p'}", "data=folder", f"data.root={tmp_path / 'd'}"])
    (clip,) = list_clips(recipe).clips
    with pytest.raises(InputError, match="objects 1 and 2, and the only expression of the video does not say which"):
        recipe.sources["m"].predict(clip)["0"].mask(0)


def test_masks_alone_are_fused_and_zipped(tiny, tmp_path, capsys):
    shutil.rmtree(tiny.root / "valid")
    out = tmp_path / "out"
    assert run_ensemble.main(["recipe=vote", f"predictions={tiny.root}/predictions", f"out={out}", *ONE]) == 0
    assert (out / "submission.zip").exists() and (out / "Annotations" / "a" / "1" / f"{FRAMES[0]}.png").exists()
    shutil.rmtree(tiny.root / "predictions" / "soc" / "Annotations" / "a" / "0")
    given = ["recipe=vote", f"predictions={tiny.root}/predictions", f"out={tmp_path / 'other'}", *ONE]
    assert run_ensemble.main(["check", *given]) == 2
    assert "no masks of expression '0'" in capsys.readouterr().err, "what one source has is missing in another"


def test_what_is_left_out_lists_no_videos(tiny):
    data = ["data=masks", f"predictions={tiny.root}/predictions", *FLOW[:1]]
    (tiny.root / "predictions" / "mutr" / "Annotations" / "a").rename(
        tiny.root / "predictions" / "mutr" / "Annotations" / "z"
    )
    assert [c.name for c in list_clips(load(["recipe=stage1", *data])).clips] == ["a", "b", "c", "z"]
    assert [c.name for c in list_clips(load(["recipe=stage1", *data, "drop=mutr"])).clips] == ["a", "b", "c"]
    shutil.rmtree(tiny.root / "predictions" / "mutr")
    assert [c.name for c in list_clips(load(["recipe=stage1", *data, "drop=mutr"])).clips] == ["a", "b", "c"]


def test_data_masks_needs_masks():
    assert "no source reads masks from disk; give data=NAME" in problems("recipe=stage1", "data=masks")


# ------------------------------------------------------------------------------------------------------ without `data:`
def test_a_recipe_without_data_says_so(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own.yaml"
    text = tiny.recipe.read_text().splitlines(keepends=True)
    own.write_text("".join(line for line in text if not line.startswith("data:")))
    for verb in ([], ["check"], ["ablate"]):
        more = ["ablate.smr.threshold=[1,2]"] if verb == ["ablate"] else []
        assert run_ensemble.main([*verb, f"recipe={own}", *more]) == 2
        printed = capsys.readouterr().err
        assert (
            printed.count("error:") == 1 and "which data? The recipe has no `data:`. Give data=NAME, one of " in printed
        )
        assert "rendering" not in printed and not (tmp_path / ".cache").exists()
    assert load([f"recipe={own}", "data=folder", "data.root=x"]).config["data"]["dataset"] == "folder"
    assert load([f"recipe={own}", "data.dataset=folder", "data.root=x"]).config["data"]["root"] == "x"
    assert load([f"recipe={own}"], {"data": {"dataset": "folder", "root": "x"}}).config["data"]["root"] == "x"
    assert loading.resolve(["recipe=stage2"])[1]["data"]["dataset"] == "shapes", "as README's first command says"


def test_masks_of_other_videos_than_the_default_data(tiny, tmp_path, monkeypatch, capsys):
    """`stage1` runs on shapes unless told otherwise: no clip is rendered to find that the masks are of other videos."""
    monkeypatch.setenv("RVOS_ENSEMBLE_CACHE", str(tmp_path / "cache"))
    found = problems("recipe=stage1", f"predictions={tiny.root}/predictions", *FLOW[:1])
    assert found.count("\n") == 0 and not (tmp_path / "cache").exists()
    assert "the masks are of other videos (a, b, c)" in found and "data=NAME" in found


assert MODELS == ("soc", "mutr", "referformer")  # the names above
