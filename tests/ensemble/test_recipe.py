"""Recipes: all errors are reported together before anything runs, with what would be right."""

import os

import pytest

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.recipe import recipe as recipes
from rvos_ensemble.ensemble.recipe.config import loading


def problems(*arguments):
    with pytest.raises(InputError) as caught:
        recipes.load(list(arguments))
    return "\n".join(caught.value.problems)


def test_every_shipped_recipe_is_valid(tiny):
    assert {"single", "stage1", "stage2", "lsvos2023"} <= set(loading.names())
    needed = {  # by recipes whose sources or data are the user's
        "vote": [f"predictions={tiny.root}/predictions"],
        "vos": ["data.video=clip.mp4", "sources.given.path=first.png"],
    }
    for name in loading.names():
        loaded = recipes.load([f"recipe={name}", *needed.get(name, [])])
        assert loaded.output in loaded.steps
        assert recipes.Recipe.build(name, loaded.config).steps.keys() == loaded.steps.keys(), (
            "workers build the same recipe"
        )


def test_lsvos2023_has_the_winners_integers():
    steps = recipes.load(["recipe=lsvos2023"]).steps
    votes = {n: s for n, s in steps.items() if s.op == "vote"}
    assert {n: (s.settings.threshold, s.settings.leftover, s.inputs[0]) for n, s in votes.items()} == {
        "fuse_a": (3, "first", "soc"),
        "fuse_b": (3, "first", "uninext"),
        "en2": (4, 3, "fuse_a_aot"),
        "final": (4, 3, "fuse_b_deaot"),
    }
    assert all(s.settings.grouping["rule"] == "pairs" for s in votes.values())


def test_overrides_and_inheritance(tiny):
    child = tiny.recipe.with_name("child.yaml")
    child.write_text("base: tiny.yaml\nsteps: {smr: {threshold: 2}, smr_flow: null}\noutput: smr\n")
    loaded = recipes.load([f"recipe={child}", "grouping.rule=pairs", "steps.smr.leftover=first"])
    assert list(loaded.steps) == ["smr"]
    assert loaded.steps["smr"].settings.threshold == 2
    assert loaded.steps["smr"].settings.leftover == "first"
    assert loaded.steps["smr"].settings.grouping == {"rule": "pairs", "file": None, "min_iou": 0.3}
    assert loaded.name == "child" and str(loaded.out) == "runs/child"


def test_automatic_weights_suit_the_data(tiny):
    data = ["data=ref_youtube_vos", f"data.root={tiny.root}"]
    own = {"propagators": {"aot": {"weights": "auto", "max_long_edge": 64}}}
    rendered = recipes.load(["recipe=stage1"], own)
    assert (
        rendered.propagators["aot"].settings.weights == rendered.config["propagators"]["aot"]["weights"] == "aot_nano"
    )
    assert rendered.propagators["aot"].settings.max_long_edge == 64 and not rendered.rendered_only()
    real = recipes.load(["recipe=stage1", *data], own)
    flow, network, other = real.propagators["aot"].members
    assert (flow.name, network.settings.weights, network.settings.max_long_edge) == ("flow", "aot_real", 64)
    assert (other.name, other.settings.weights, other.settings.max_long_edge) == ("deaot", "deaot_real", 64)
    assert (
        real.describe_propagator("aot") == "aot (blend of flow, aot_real and deaot_real)" and not real.rendered_only()
    )
    assert recipes.Recipe.build("stage1", real.config).propagators["aot"].weights == [
        "aot_real",
        "deaot_real",
    ]  # in a worker, once more
    members = {"propagators": {"aot": {"propagator": "blend", "of": ["flow", "aot_nano"]}}}
    mixed = recipes.load(["recipe=stage1", *data], members)
    assert mixed.rendered_only() == ["aot"]  # one of its members


def test_only_used_sources_are_made(tiny):
    tiny.recipe.write_text(tiny.recipe.read_text().replace("sources:", "sources:\n  other: {adapter: no_such_thing}"))
    assert "other" not in recipes.load([f"recipe={tiny.recipe}"]).sources


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ouput=smr"], "unknown key `ouput`, did you mean `output`? Valid: annotations, base"),
        (["steps.smr.treshold=3"], "step smr (op vote): unknown key `treshold`, did you mean `threshold`?"),
        (
            ["steps.smr.op=wote"],
            "step smr: no step is called 'wote', did you mean `vote`? Available: average, candidates",
        ),
        (["steps.smr.inputs=[soc,mutt]"], "step smr: input: unknown key `mutt`, did you mean `mutr`?"),
        (
            ["steps.smr.threshold=0"],
            "step smr (op vote): setting `threshold` is 0, expected a count (3), a share (0.5) or null",
        ),
        (["steps.smr.threshold=1.5"], "setting `threshold` is 1.5, expected a count (3), a share (0.5) or null"),
        (["steps.smr.weights=[1,2]"], "2 weights for 3 masks"),
        (["steps.smr.across=time"], "setting `across` is 'time', expected one of nothing, expressions"),
        (["steps.smr.leftover=last"], "setting `leftover` is 'last', expected vote, first, or a threshold"),
        (["steps.smr_flow.with=flaw"], "propagators: unknown key `flaw`, did you mean `flow`?"),
        (
            ["sources.soc.adapter=fils"],
            "source soc: no adapter is called 'fils', did you mean `files`? Available: command",
        ),
        (["sources.soc.paht=x"], "source soc: files: unknown key `paht`, did you mean `path`?"),
        (["propagators.flow.max_sid=3"], "propagator flow: flow: unknown key `max_sid`"),
        (["data.splt=x"], "data: ref_youtube_vos: unknown key `splt`, did you mean `split`?"),
        (["data.dataset=nope"], "data: no dataset is called 'nope'"),
        (["engine.wrokers=2"], "engine: unknown key `wrokers`, did you mean `workers`?"),
        (["engine.workers=two"], "engine: setting `workers` is 'two', expected a whole number"),
        (["engine.workers=-1"], "engine: setting `workers` is -1, expected a whole number of at least 0"),
        (["engine.backend=locky"], "setting `backend` is 'locky', expected one of loky"),
        (["grouping.rule=pair"], "grouping: setting `rule` is 'pair', expected one of auto, obj_id"),
        (["grouping.rule=file"], "rule `file` needs `grouping.file`"),
        (["grouping.rule=file", "grouping.file=groups.json"], "groups.json: no such file"),
        (["sources=sco"], "sources: unknown key `sco`, did you mean `soc`?"),
        (["propagators.flow=fast"], "propagator flow: expected {propagator: NAME, settings...}, found 'fast'"),
        (["steps.smr.inputs=3"], "step smr: input: unknown key `3`. Valid: mutr"),
        (["steps.smr_flow.scores_from=[3]"], "step smr_flow: input: unknown key `3`. Valid: mutr"),
        (["steps.smr_flow.with=null"], "setting `with` must be given, the name of a propagator"),
        (["steps.smr_flow.key_frame=3"], "setting `key_frame` is 3, expected a rule, or {rule: NAME, settings...}"),
        (["steps.smr.threshold=true"], "setting `threshold` is True, expected a count"),
        (["grouping.min_iou=null"], "grouping: setting `min_iou` is None, expected a number at least 0 and at most 1"),
        (["grouping=pairs"], "grouping is 'pairs', expected `key: value` lines"),
        (["steps.smr=vote"], "step smr: expected {op: NAME, settings...}, found 'vote'"),
        (["steps.smr.threshold=1/2"], "setting `threshold` is '1/2', expected a count (3), a share (0.5) or null"),
        (["steps.smr.threshold=null", "output=smr"], "output smr is a vote map, no masks: give steps.smr.threshold"),
        (
            ["steps.smr.weights=3"],
            "setting `weights` is 3, expected a list of 1 or more of: a number at least 0 and at most 1000, or "
            "{input: weight}",
        ),
        (["steps.smr_flow.scores_from=[soc,mutr]"], "key_frame argmax uses one score, found scores_from soc, mutr"),
        (["sources.sco.path=x"], "sources: unknown key `sco`, did you mean `soc`?"),
        (["sources.more={adapter: files, path: x}"], "sources: unknown key `more`"),
        (["propagators.flaw.max_side=300"], "propagators: unknown key `flaw`, did you mean `flow`?"),
        (["source=mutr"], "no step reads `source`"),
        (["steps.smr_flow.key_frame={rule: given, file: keys.json}"], "keys.json: no such file"),
        (["data.expressions=[a dog, 'b"], "data: ref_youtube_vos: unknown key `expressions`"),
        (["grouping.rules=pairs"], "grouping: unknown key `rules`"),
        (["output=smr_flo"], "output: unknown key `smr_flo`, did you mean `smr_flow`?"),
        (["steps.smr.inputs=[soc,smr_flow]"], "steps run in a circle: smr -> smr_flow -> smr"),
        (["steps.soc.op=union", "steps.soc.inputs=[mutr]"], "`soc` is both a source and a step"),
        (["steps.smr.inputs=${nowhere}"], "nowhere"),
        (["steps.a/b.op=union", "steps.a/b.inputs=[soc]"], "step 'a/b': a name is made of"),
        (["loose"], "argument 'loose': expected key=value"),
    ],
)
def test_every_error_is_named(tiny, arguments, message):
    assert message in problems(*tiny.arguments, *arguments)


def test_all_problems_at_once(tiny):
    reported = problems(*tiny.arguments, "steps.smr.treshold=3", "steps.smr_flow.wiht=x", "engine.worker=1")
    assert "treshold" in reported and "wiht" in reported and "worker" in reported


def test_files_that_are_missing_or_no_recipes(tmp_path):
    assert "no recipe 'stage9', did you mean `stage2`? Available: agreement, lsvos2023" in problems("recipe=stage9")
    assert "which recipe?" in problems("out=x")
    broken = tmp_path / "broken.yaml"
    broken.write_text("steps: [1, {")
    assert f"{broken}: not a recipe" in problems(f"recipe={broken}")
    broken.write_text("- a\n- b\n")
    assert "expected `key: value` lines" in problems(f"recipe={broken}")
    broken.write_text("base: broken.yaml\n")
    assert "circle: broken.yaml -> broken.yaml" in problems(f"recipe={broken}")
    assert "no data table 'nope'. Available: folder" in problems("recipe=stage1", "data=nope")


def test_predictions_replace_models(tiny, tmp_path, capsys):
    arguments = ["recipe=stage1", "data=ref_youtube_vos", f"data.root={tiny.root}", f"out={tiny.out}"]
    assert run_ensemble.main(["check", *arguments]) == 2
    assert "soc_nano is a small network of ours that knows only the words of `shapes`" in capsys.readouterr().err
    assert run_ensemble.main(["check", *arguments, f"predictions={tmp_path / 'nowhere'}"]) == 2
    assert f"{tmp_path / 'nowhere'}: no such folder, so that there are no masks of soc, mutr" in capsys.readouterr().err
    given = [*arguments, f"predictions={tiny.root}/predictions"]
    assert run_ensemble.main(["check", *given]) == 0
    own = tmp_path / "own.yaml"
    own.write_text(f"base: stage1\npredictions: {tiny.root}/predictions\n")
    for config in (
        loading.resolve([*given, "sources.mutr.path=elsewhere"])[1],
        loading.resolve([f"recipe={own}", "sources.mutr.path=elsewhere"])[1],
    ):
        assert config["sources"]["soc"] == {"adapter": "files", "path": f"{tiny.root}/predictions/soc"}
        assert config["sources"]["mutr"]["path"] == "elsewhere" and "predictions" not in config
    model = loading.resolve([*given, "sources.soc.adapter=soc", "sources.soc.weights=a.pth"])[1]["sources"]
    assert model["soc"] == {"adapter": "soc", "weights": "a.pth"} and model["mutr"]["adapter"] == "files"


def test_an_adapter_inherits_no_settings_from_the_one_it_replaces(tiny, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text(f"base: {tiny.recipe}\nsources: {{soc: {{adapter: mutr, window: 36}}}}\n")
    for arguments in (
        [f"recipe={own}", "sources.soc.weights=a.pth"],
        [f"recipe={tiny.recipe}", "sources.soc.adapter=mutr", "sources.soc.weights=a.pth", "sources.soc.window=36"],
    ):
        sources = recipes.load(arguments).config["sources"]
        assert sources["soc"] == {"adapter": "mutr", "weights": "a.pth", "window": 36}
        assert sources["mutr"] == {"adapter": "files", "path": f"{tiny.root}/predictions/mutr"}
    same = recipes.load([f"recipe={tiny.recipe}", "sources.soc.adapter=files", "sources.soc.extra=ignore"])
    assert same.config["sources"]["soc"]["path"] == f"{tiny.root}/predictions/soc"
    stage1 = loading.resolve(["recipe=stage1", "propagators.aot.propagator=flow", "propagators.aot.learn=0.1"])[1]
    assert stage1["propagators"] == {"aot": {"propagator": "flow", "learn": 0.1}}


# ------------------------------------------------------------------------------------ paths beside the recipe file
OWN = "import rvos_ensemble as rv\n\n\nclass Own(rv.Adapter):\n    defaults = {'weights': path(), 'note': 'x'}\n"


@pytest.fixture
def beside(tiny, tmp_path, monkeypatch):
    """A folder with a recipe, its base in another folder, and what they name; the working folder is elsewhere."""
    folder, base = tmp_path / "mine", tmp_path / "base"
    for f in (folder, base, tmp_path / "work"):
        f.mkdir()
    (folder / "own.py").write_text("from rvos_ensemble.adapters.core.settings import path\n" + OWN)
    for name in ("w.pth", "soc", "smr", "runs"):
        (folder / name).touch()
    (folder / "groups.json").write_text("{}")
    (folder / "keys.json").write_text("{}")
    (base / "tiny.yaml").write_text(tiny.recipe.read_text().replace(f"{tiny.root}/predictions/soc", "masks/soc"))
    (base / "masks").mkdir()
    (base / "masks" / "soc.zip").touch()
    (base / "masks" / "soc.scores.json").touch()
    monkeypatch.chdir(tmp_path / "work")

    def config(text: str, *arguments: str):
        (folder / "r.yaml").write_text(f"base: ../base/tiny.yaml\n{text}")
        return loading.resolve([f"recipe={folder}/r.yaml", *arguments])[1]

    config.folder, config.base = folder, base
    return config


def test_paths_are_looked_for_beside_the_recipe(beside):
    here = beside.folder
    config = beside(
        "sources: {mutr: {adapter: own.py, weights: w.pth, note: w.pth}}\n"
        "grouping: {rule: file, file: groups.json}\n"
        "steps:\n"
        "  smr: {inputs: [soc, mutr], grouping: {file: groups.json}}\n"
        "  smr_flow: {key_frame: {rule: given, file: keys.json}}\n"
        "store: runs\n"
    )
    assert config["sources"]["mutr"] == {"adapter": f"{here}/own.py", "weights": f"{here}/w.pth", "note": "w.pth"}
    assert config["grouping"]["file"] == config["steps"]["smr"]["grouping"]["file"] == f"{here}/groups.json"
    assert config["steps"]["smr_flow"]["key_frame"]["file"] == f"{here}/keys.json"
    assert config["steps"]["smr"]["inputs"] == ["soc", "mutr"], "names are not paths"
    assert config["store"] == "runs" and config["output"] == "smr_flow", "outputs are not looked for"
    assert config["sources"]["soc"]["path"] == f"{here}/../base/masks/soc", (
        "a base has its own folder; a stem is enough"
    )


def test_a_path_of_a_component_that_the_base_names(beside):
    """The recipe itself does not say which adapter has the setting."""
    (beside.folder / "more.scores.json").touch()
    config = beside("sources: {soc: {scores: more.scores.json}}\n")
    assert config["sources"]["soc"]["scores"] == f"{beside.folder}/more.scores.json"


def test_the_working_folder_wins_and_other_paths_stay(beside, tmp_path):
    (tmp_path / "work" / "w.pth").touch()
    text = "sources: {{mutr: {{adapter: own.py, weights: {}}}}}\n"
    for written in ("w.pth", "nowhere.pth", "/absolute/w.pth", "${oc.env:HOME}/w.pth", "~/w.pth", "a\\0b"):
        weights = beside(text.format(f'"{written}"'))["sources"]["mutr"]["weights"]
        assert weights == (os.path.expanduser("~/w.pth") if "HOME" in written else written.replace("\\0", "\0"))
    on_command_line = beside(text.format("w.pth"), "sources.mutr.weights=groups.json")["sources"]["mutr"]
    assert on_command_line["weights"] == "groups.json", "the command line is read from the working folder"


def test_data_and_predictions_beside_the_recipe(beside):
    here = beside.folder
    (here / "videos").mkdir()
    (here / "tables").mkdir()
    (here / "tables" / "texts.json").write_text("[a dog]")
    (here / "tables" / "mine.yaml").write_text("dataset: folder\nroot: videos\nexpressions: texts.json\n")
    (here / "own_data.py").write_text("import rvos_ensemble as rv\n\n\nclass D(rv.Dataset):\n    pass\n")
    assert beside("data: {dataset: folder, root: videos}\n")["data"]["root"] == f"{here}/videos"
    assert beside("data: {dataset: own_data.py}\n")["data"] == {
        "dataset": f"{here}/own_data.py",
        **{k: v for k, v in beside("")["data"].items() if k != "dataset"},
    }
    table = beside("data: tables/mine.yaml\n")["data"]
    assert table == {"dataset": "folder", "root": "videos", "expressions": f"{here}/tables/texts.json"}
    (here / "masks").mkdir()
    assert beside("predictions: masks\n")["sources"]["mutr"] == {"adapter": "files", "path": f"{here}/masks/mutr"}


def test_a_step_and_a_propagator_beside_the_recipe(beside):
    here = beside.folder
    (here / "a.py").touch()
    config = beside("propagators: {own: {propagator: a.py}}\nsteps: {more: {op: a.py, inputs: [soc]}}\n")
    assert config["propagators"]["own"] == {"propagator": f"{here}/a.py"}
    assert config["steps"]["more"]["op"] == f"{here}/a.py"
    listed = beside("sources: {their: {adapter: command, command: 'x {out}', files: [w.pth, none]}}\n")
    assert listed["sources"]["their"]["files"] == [f"{here}/w.pth", "none"]
