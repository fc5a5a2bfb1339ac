"""`shapes`: the same bytes every time, and the difficulties that it documents."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

from rvos_ensemble import adapters
from rvos_ensemble.adapters.core.component import find
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.datasets import Dataset
from rvos_ensemble.adapters.datasets.ref_youtube_vos import RefYoutubeVOS
from rvos_ensemble.adapters.datasets.shapes import Shapes
from rvos_ensemble.adapters.datasets.shapes.clips import benchmark_clip
from rvos_ensemble.adapters.datasets.shapes.layout import frame_numbers, times
from rvos_ensemble.adapters.datasets.shapes.levels import LEVELS, SPLITS
from rvos_ensemble.adapters.datasets.shapes.render import draw
from rvos_ensemble.adapters.datasets.shapes.scenes import ODD, compose
from rvos_ensemble.adapters.datasets.shapes.sheet import clips_sheet
from rvos_ensemble.adapters.datasets.shapes.staged import STAGED
from rvos_ensemble.ensemble.fusion.grouping import group_expressions

SIZE = (180, 320)
TINY = {"clips": 2, "frames": 5, "size": [48, 80]}
TINY_SLOW = {"clips": 8, "frames": 24, "size": [96, 160]}
REPOSITORY = Path(__file__).resolve().parents[2]


def bytes_of(root: Path) -> dict[str, str]:
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def default(tmp_path_factory) -> Shapes:
    """The data set as in the first command of the README."""
    dataset = Shapes(root=str(tmp_path_factory.mktemp("shapes") / "default"))
    dataset.prepare()
    return dataset


def shot_of(index: int, seed: int = 0, frames: int = 24, size=SIZE, split: str = "test", level: str | None = None):
    """A clip as `Shapes` renders it."""
    return benchmark_clip(split, seed, index, level, times(frame_numbers(index, frames)), size)


@pytest.fixture(scope="module")
def scenes():
    """{kind of staged scene: (scene, ids [T, H, W], areas [T, objects], first and last image)}, at the easy level."""
    result = {}
    for index in range(0, 24, 2):
        scene = compose("test", 0, index, "easy")
        kind = scene.name.split("_", 2)[2]
        if kind not in result:
            pictures = list(draw(scene, np.linspace(0, 1, 24), (90, 160)))
            result[kind] = (
                scene,
                np.stack([p.ids for p in pictures]),
                np.stack([p.areas for p in pictures]),
                (pictures[0].image, pictures[-1].image),
            )
    assert result.keys() == {"odd_one_out", *(make.__name__ for make in STAGED)}
    return result


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        Shapes(root=str(tmp_path / name), seed=seed, **TINY).prepare()
    a, b, c = (bytes_of(tmp_path / name) for name in "abc")
    assert a == b
    pictures = [name for name in a if name.endswith(".jpg")]
    assert len(pictures) == 2 * 5
    assert not {a[name] for name in pictures} & {c[name] for name in c if name.endswith(".jpg")}


def test_it_is_found_by_name_and_says_what_it_is():
    assert find("shapes", Dataset, adapters.datasets, "rvos_ensemble.datasets") is Shapes
    assert "embedded default" in Shapes.__doc__.split("\n")[0]


def test_the_reader_of_ref_youtube_vos_reads_it(default):
    root = Path(default.settings.root)
    clips = RefYoutubeVOS(root=str(root), split="valid").clips()
    assert [(c.name, c.frames, c.expressions) for c in clips] == [
        (c.name, c.frames, c.expressions) for c in default.clips()
    ]
    assert len(clips) == 8 and {len(c) for c in clips} == {24} and {tuple(c.size) for c in clips} == {SIZE}
    meta = json.loads((root / "meta_expressions/valid/meta_expressions.json").read_text())
    assert all(e.keys() == {"exp"} for v in meta["videos"].values() for e in v["expressions"].values())
    assert all(e.objects == () for c in clips for e in c.expressions)  # secret, as in the competition
    assert clips[0].read(0).shape == (*SIZE, 3)


def test_truth_is_what_was_drawn(default):
    clip, shot = default.clips()[0], shot_of(0)
    for e, (sentence, own) in zip(clip.expressions, shot.expressions, strict=True):
        truth = clip.truth.read(e.id)
        assert e.text == sentence.text and all((truth.mask(t) == (shot.ids[t] == own)).all() for t in range(24))
    assert np.abs(clip.read(7).astype(int) - shot.pictures[7].image).mean() < 3  # all that JPEG took away


def test_frame_names_start_late_and_have_gaps_as_in_the_real_data(default):
    clips = default.clips()
    steps = [np.diff([int(f) for f in c.frames]) for c in clips]
    assert any(c.frames[0] != "00000" for c in clips) and all(c.frames[0].isdecimal() for c in clips)
    assert any((s > 5).any() for s in steps) and all((s >= 5).all() for s in steps)


def test_sentences_come_in_pairs_but_for_one_clip(default):
    objects = json.loads((Path(default.settings.root) / "meta_expressions/valid/obj_ids.json").read_text())
    runs = {clip: [list(ids.values()).count(k) for k in dict.fromkeys(ids.values())] for clip, ids in objects.items()}
    assert all(list(ids.values()) == sorted(ids.values()) for ids in objects.values())  # in the order of the objects
    odd = [clip for clip, lengths in runs.items() if 1 in lengths]
    assert odd == ["06_easy_odd_one_out"] and sorted(runs[odd[0]]) == [1, 2, 2]
    assert all(set(lengths) == {2} for clip, lengths in runs.items() if clip not in odd)
    small = {"frames": 12, "size": (48, 80)}
    places = {[len(own) for own in shot_of(ODD, seed, **small).sentences].index(1) for seed in range(12)}
    assert places == {0, 1, 2}  # not always the last


def test_auto_groups_them_by_the_object_that_their_true_masks_show(default):
    for clip in default.clips():
        truth = {e.id: clip.truth.read(e.id) for e in clip.expressions}
        result = group_expressions(clip, [truth])
        objects = {e.id: np.stack([truth[e.id].mask(t) for t in range(len(clip))]).tobytes() for e in clip.expressions}
        assert clip.in_pairs and len(result) == len(set(objects.values()))
        assert all(len({objects[i] for i in group}) == 1 for group in result)


def test_staged_and_free_scenes_take_turns_at_all_levels(default):
    names = [clip.name for clip in default.clips()]
    assert [name.split("_")[1] for name in names] == [LEVELS[i % 3] for i in range(8)]
    assert [name.endswith("_free") for name in names] == [bool(i % 2) for i in range(8)]
    kinds = {compose("test", 0, i).name.split("_", 2)[2] for i in range(24)}
    assert kinds == {"free", "odd_one_out", *(make.__name__ for make in STAGED)}


def test_levels_differ_in_what_makes_them_difficult():
    scenes_of = {level: [compose("val", 0, i, level) for i in range(1, 120, 2)] for level in LEVELS}

    def mean(level, value):
        return np.mean([value(scene) for scene in scenes_of[level]])

    for value in (
        lambda s: len(s.objects),
        lambda s: len(s.things) - len(s.objects),
        lambda s: max(thing.sway for thing in s.objects),
        lambda s: abs(s.conditions.gain) + s.conditions.spot,
        lambda s: s.conditions.defocus + s.conditions.exposure / 100,
        lambda s: s.conditions.shake,
        lambda s: s.conditions.noise,
    ):
        easy, medium, hard = (mean(level, value) for level in LEVELS)
        assert easy < medium < hard


def test_no_clip_of_one_split_is_in_another():
    result = {}
    for split in SPLITS:
        for seed, index in np.ndindex(6, 40):
            scene = compose(split, seed, index, "easy")
            result.setdefault((scene.texture, scene.things), []).append((split, seed, index))
    assert all(len(places) == 1 for places in result.values()) and len(result) == 3 * 6 * 40


def test_another_split_and_level_are_other_files(tmp_path):
    roots = []
    for k, settings in enumerate(({}, {"split": "val"}, {"level": "hard"})):
        roots.append(tmp_path / str(k))
        Shapes(root=str(roots[-1]), **TINY, **settings).prepare()
    pictures = [[p.read_bytes() for p in sorted(root.rglob("*.jpg"))] for root in roots]
    assert not set(pictures[0]) & set(pictures[1]) and not set(pictures[0]) & set(pictures[2])
    assert {p.name.split("_")[1] for p in (roots[2] / "valid" / "JPEGImages").iterdir()} == {"hard"}


# Its difficulties


def test_things_disappear_and_come_back(scenes):
    for kind in ("leaving_and_returning", "behind_the_column"):
        _, ids, _, _ = scenes[kind]
        seen = np.array([[(frame == k).any() for frame in ids] for k in range(1, ids.max() + 1)])
        gone = [s for s in seen if not s.all()]
        assert len(gone) == 1 and gone[0][0] and gone[0][-1]
        assert 2 <= (~gone[0]).sum() <= 12


def test_things_hide_each_other(scenes):
    for kind in ("crossing_twins", "spinning_twin", "odd_one_out", "four_ways", "behind_the_column"):
        _, ids, areas, _ = scenes[kind]
        visible = np.stack([(ids == k + 1).sum((1, 2)) for k in range(areas.shape[1])], axis=1)
        share = visible / np.maximum(areas, 1)
        assert (share[areas > 0].min() < 0.8) and (share.max() == 1)


def test_twins_differ_in_nothing_but_motion(scenes):
    scene, ids, _, (first, _) = scenes["turning_back"]
    other, *twins = scene.objects
    assert twins[0].appearance == twins[1].appearance != other.appearance and twins[0].path != twins[1].path

    def patch(own):
        x, y = np.argwhere(ids[0] == own).mean(0)
        return cv2.getRectSubPix(first, (15, 15), (float(y), float(x))).astype(float)

    assert np.abs(patch(2) - patch(3)).mean() < 12 < 30 < np.abs(patch(2) - patch(1)).mean()


def test_sizes_change(scenes):
    _, ids, _, _ = scenes["coming_closer"]
    areas = np.stack([(ids == k).sum((1, 2)) for k in (1, 3)])
    assert areas[0, 0] > 4 * areas[0, -1] and areas[1, -1] > 4 * areas[1, 0]


def test_the_camera_moves_and_the_ground_has_texture(scenes):
    for _, ids, _, (first, last) in scenes.values():
        still = (ids[0] == 0) & (ids[-1] == 0)
        assert np.abs(first.astype(int) - last)[still].mean() > 5
        assert cv2.Laplacian(first.mean(2), cv2.CV_64F)[still].std() > 3


# Rendering once


def test_it_renders_once_and_again_when_settings_or_files_change(tmp_path, capsys):
    root = tmp_path / "deep" / "r"
    Shapes(root=str(root), **TINY).prepare()
    assert "rendering 2 clips" in capsys.readouterr().err
    before = bytes_of(root)
    Shapes(root=str(root), **TINY).prepare()
    assert capsys.readouterr().err == ""
    Shapes(root=str(root), seed=1, **TINY).prepare()
    assert "rendering" in capsys.readouterr().err and bytes_of(root) != before
    Shapes(root=str(root), **TINY).prepare()
    assert bytes_of(root) == before
    assert sorted(p.name for p in root.parent.iterdir()) == ["r"]


@pytest.mark.parametrize("damage", ["remove", "truncate"])
def test_a_damaged_file_is_rendered_anew(tmp_path, damage):
    root = tmp_path / "r"
    Shapes(root=str(root), **TINY).prepare()
    before = bytes_of(root)
    picture = sorted(root.rglob("*.png"))[3]
    picture.unlink() if damage == "remove" else picture.write_bytes(picture.read_bytes()[:20])
    Shapes(root=str(root), **TINY).prepare()
    assert bytes_of(root) == before


def test_another_version_of_the_renderer_renders_anew(tmp_path, monkeypatch, capsys):
    Shapes(root=str(tmp_path / "r"), **TINY).prepare()
    monkeypatch.setattr(Shapes, "version", 99)
    capsys.readouterr()
    Shapes(root=str(tmp_path / "r"), **TINY).prepare()
    assert "rendering" in capsys.readouterr().err


def test_it_never_deletes_what_it_has_not_written(tmp_path):
    mine = tmp_path / "r" / "valid" / "mine.zip"
    Shapes(root=str(tmp_path / "r"), **TINY).prepare()
    mine.write_bytes(b"work of weeks")
    Shapes(root=str(tmp_path / "r"), **TINY).prepare()  # complete: fine
    with pytest.raises(InputError, match=r"valid/mine\.zip"):
        Shapes(root=str(tmp_path / "r"), seed=1, **TINY).prepare()
    assert mine.read_bytes() == b"work of weeks"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        Shapes(root=str(tmp_path / "home"), **TINY).prepare()
    with pytest.raises(InputError, match="a file, expected a folder"):
        Shapes(root=str(mine), **TINY).prepare()


def test_settings_that_cannot_be_rendered_are_named_together(tmp_path):
    with pytest.raises(InputError) as caught:
        Shapes(root=str(tmp_path / "r"), split="dev", level="nasty", seed=-1, clips=0, frames=1, size=[180]).prepare()
    assert len(caught.value.problems) == 6 and not (tmp_path / "r").exists()


def start(root: Path, settings: dict) -> subprocess.Popen:
    code = "from rvos_ensemble.adapters.datasets.shapes import Shapes\n"
    code += f"Shapes(root={str(root)!r}, **{settings!r}).prepare()"
    return subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)


def test_a_killed_run_leaves_nothing_half_made(tmp_path):
    root, fresh = tmp_path / "r", tmp_path / ".r.rendering"
    run = start(root, TINY_SLOW)
    deadline = time.monotonic() + 30
    while not list(fresh.rglob("*.jpg")):
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert fresh.is_dir() and not root.exists()
    Shapes(root=str(root), **TINY).prepare()
    Shapes(root=str(tmp_path / "undisturbed"), **TINY).prepare()
    assert bytes_of(root) == bytes_of(tmp_path / "undisturbed") and not fresh.exists()


def test_two_at_once_render_once(tmp_path):
    runs = [start(tmp_path / "r", TINY) for _ in range(2)]
    errors = [run.communicate(timeout=60)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    assert sorted("rendering" in text for text in errors) == [False, True]
    Shapes(root=str(tmp_path / "alone"), **TINY).prepare()
    assert bytes_of(tmp_path / "r") == bytes_of(tmp_path / "alone")


def test_the_recipe_table_resolves_its_root(monkeypatch):
    monkeypatch.setenv("RVOS_ENSEMBLE_CACHE", "somewhere")
    table = OmegaConf.create({"data": OmegaConf.load(REPOSITORY / "recipes" / "data" / "shapes.yaml")})
    data = OmegaConf.to_container(OmegaConf.merge(table, {"data": {"seed": 2}}), resolve=True)["data"]
    assert data.pop("dataset") == "shapes"
    assert data["root"] == "somewhere/shapes/test_None_8x24_180x320_seed2"
    assert all(data[key] == Shapes.defaults[key].default for key in data.keys() - {"root", "seed"})
    Shapes(**data)


def test_several_seeds_are_one_benchmark_of_all_their_clips(tmp_path):
    both = Shapes(root=str(tmp_path / "both"), seed=[3, 4], **TINY)
    clips = both.clips()
    assert [c.name[:6] for c in clips] == ["seed3_", "seed3_", "seed4_", "seed4_"]
    for clip, seed, i in ((clips[1], 3, 1), (clips[2], 4, 0)):
        alone = Shapes(root=str(tmp_path / str(seed)), seed=seed, **TINY).clips()[i]
        assert clip.name == f"seed{seed}_{alone.name}" and clip.expressions == alone.expressions
        assert (clip.read(2) == alone.read(2)).all()
        assert (clip.truth.read("0").mask(2) == alone.truth.read("0").mask(2)).all()
    one = Shapes(root=str(tmp_path / "both"), seed=[3, 4], videos=[clips[2].name], **TINY)
    assert [c.name for c in one.clips()] == [clips[2].name]
    with pytest.raises(InputError, match="seed5"):
        Shapes(root=str(tmp_path / "both"), seed=[3, 4], videos=["seed5_x"], **TINY).clips()
    with pytest.raises(InputError, match=r"`seed` is \[3, -1\], expected a whole number of at least 0, or several"):
        Shapes(root=str(tmp_path / "both"), seed=[3, -1], **TINY).clips()


def test_the_contact_sheet_shows_every_clip():
    assert clips_sheet(0, clips=2, columns=3, frames=5, size=(48, 80)).shape == (2 * 52, 3 * 84, 3)
