"""The MeViSv2 form of `shapes`: what its expressions say is certain, and their words do not tell what they refer to."""

import json
from collections import Counter
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pytest
from helpers.shapes_denying import Whole, check_nothing, could_hold
from helpers.shapes_reading import Seen, check_sentence, parse
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from pycocotools import mask as coco

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.datasets.mevis import Mevis
from rvos_ensemble.adapters.datasets.shapes import Shapes
from rvos_ensemble.adapters.datasets.shapes.layout import frame_numbers, times
from rvos_ensemble.adapters.datasets.shapes.levels import BENCHMARKS, LEVELS, SPLITS
from rvos_ensemble.adapters.datasets.shapes.mevis.clips import EXPRESSIONS, mevis_clip, mevis_pair, mixed
from rvos_ensemble.adapters.datasets.shapes.scenes import compose
from rvos_ensemble.adapters.datasets.shapes.sentences import VOCABULARY
from rvos_ensemble.adapters.datasets.shapes.sheet import clips_sheet

SIZE = (72, 128)
TIMES = np.linspace(0, 1, 12)
TINY = {"benchmark": "mevis", "clips": 3, "frames": 8, "size": [48, 80]}
REPOSITORY = Path(__file__).resolve().parents[2]


def parts_of(text: str) -> list[str]:
    """The descriptions that an expression joins.

    >>> parts_of("the red star and the one that turns back")
    ['the red star', 'the one that turns back']
    """
    first, *others = text.split(" and the ")
    return [first, *(f"the {other}" for other in others)]


def check_targets(shot, whole: Whole, expression) -> None:
    """Asserts that each description is true of one of the expression's objects, and of no other object of the clip."""
    count, parts = len(shot.scene.objects), parts_of(expression.text)
    seen = Seen(shot.ids, count, whole.column)
    assert len(parts) == len(expression.objects)

    def fits(part: str, own: int) -> bool:
        what = parse(part)[1]
        try:
            by_appearance = what != "fastest" and not what.startswith("that")
            check_sentence(seen, shot.scene, part, by_appearance, own)
        except AssertionError:
            return False
        return not what or could_hold(whole, own - 1, what)

    where = f"{shot.scene.name}: {expression}"
    assert any(all(map(fits, parts, order)) for order in permutations(expression.objects)), where


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(SPLITS), st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.sampled_from(LEVELS))
def test_expressions_are_true_of_their_objects_and_false_of_all_where_there_are_none(split, seed, index, level):
    shot, foils = mevis_pair(split, seed, index, level, TIMES, SIZE)
    whole = Whole(shot.scene, TIMES, SIZE)
    for true, foil in zip(shot.expressions, foils, strict=True):
        check_targets(shot, whole, true)
        check_nothing(whole, foil.text)
        assert len(parts_of(true.text)) == len(true.objects) and (len(true.objects) > 1) == (len(foil.objects) > 1)
        assert set(f"{true.text} {foil.text}".split()) <= set(VOCABULARY)


@pytest.mark.slow
def test_expressions_of_many_clips_are_certain():
    for index in range(300):
        shot, foils = mevis_pair("train", 5, index, None, TIMES, SIZE)
        whole = Whole(shot.scene, TIMES, SIZE)
        for true, foil in zip(shot.expressions, foils, strict=True):
            check_targets(shot, whole, true)
            check_nothing(whole, foil.text)


def test_the_checker_rejects_expressions_of_another_clip():
    """What is said to refer to nothing is not accepted of the clip in which it is true, and the other way round."""
    for index in range(4):
        shot, foils = mevis_pair("val", 2, index, "easy", TIMES, SIZE)
        whole = Whole(shot.scene, TIMES, SIZE)
        for true, foil in zip(shot.expressions, foils, strict=True):
            with pytest.raises(AssertionError, match="could be object"):
                check_nothing(whole, true.text)
            with pytest.raises(AssertionError, match=shot.scene.name):
                check_targets(shot, whole, foil)


# Proportions and words


@pytest.fixture(scope="module")
def pairs():
    """Clips of two seeds, small and with few frames, each with the expressions of `mevis_pair`: {seed: pairs}."""
    return {
        seed: [mevis_pair("val", seed, i, None, np.linspace(0, 1, 6), (48, 80)) for i in range(40)] for seed in (1, 2)
    }


@pytest.fixture(scope="module")
def many(pairs):
    """The same clips with their expressions: [(scene, expressions)]."""
    shots = [mixed(*pair) for seed in pairs for pair in pairs[seed]]
    return [(shot.scene, shot.expressions) for shot in shots]


def test_proportions_are_those_of_mevisv2(many):
    all_ = [e for _, expressions in many for e in expressions]
    kinds = Counter(min(len(e.objects), 2) for e in all_)
    assert len(all_) == len(many) * EXPRESSIONS == kinds.total()
    assert abs(kinds[0] / len(all_) - 0.106) < 0.03 and abs(kinds[2] / len(all_) - 0.243) < 0.03
    assert {len(e.objects) for e in all_} == {0, 1, 2, 3}
    assert 0.65 < np.mean([not e.by_appearance for e in all_]) < 0.95  # mostly of motion
    nothing = [e for e in all_ if not e.objects]
    assert Counter(sum(not e.objects for e in expressions) for _, expressions in many).keys() == {0, 1, 2}
    assert {len(parts_of(e.text)) for e in nothing} >= {1, 2}  # a list of objects may refer to nothing, too
    assert all(len({e.text for e in expressions}) == EXPRESSIONS for _, expressions in many)


def test_most_expressions_that_refer_to_nothing_name_an_object_that_is_there(many):
    right = []
    for scene, expressions in many:
        traits = [str(thing.appearance).split() for thing in scene.objects]
        for part in (part for e in expressions if not e.objects for part in parts_of(e.text)):
            words = [w for w in parse(part)[0].split() if w not in ("one", "thing")]
            right.append(any(set(words) <= set(t) for t in traits))
    assert 0.5 < np.mean(right) < 0.95


def words_and_pairs(text: str) -> set[str]:
    words = ["<", *text.split(), ">"]
    return {*words, *map(" ".join, pairwise(words))}


def auc_of_words(train: list[tuple[str, bool]], test: list[tuple[str, bool]]) -> float:
    """Area under the ROC curve of naive Bayes on words and pairs of words; 0.5 is chance."""
    counts = {label: Counter(w for text, l in train if l == label for w in words_and_pairs(text)) for label in (0, 1)}
    totals = {label: sum(l == label for _, l in train) for label in (0, 1)}

    def score(text: str) -> float:
        odds = [np.log([(counts[c][w] + 1) / (totals[c] + 2) for c in (1, 0)]) for w in words_and_pairs(text)]
        return float(sum(a - b for a, b in odds))

    yes, no = (np.array([score(text) for text, label in test if label == wanted]) for wanted in (1, 0))
    return float(np.mean((yes[:, None] > no) + 0.5 * (yes[:, None] == no)))


def test_words_alone_do_not_tell_whether_there_is_a_target(pairs):
    """Every clip gives 10 expressions with a target and 10 without; the other seed is held out."""
    train, test = (
        [
            (e.text, not true)
            for shot, foils in pairs[seed]
            for true, es in ((1, shot.expressions), (0, foils))
            for e in es
        ]
        for seed in pairs
    )
    assert abs(auc_of_words(train, test) - 0.5) < 0.06
    train, test = ([(text, " and " in text) for text, _ in texts] for texts in (train, test))
    assert auc_of_words(train, test) > 0.99  # the classifier learns what words do tell


# Files


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Shapes:
    dataset = Shapes(root=str(tmp_path_factory.mktemp("mevis") / "r"), **TINY)
    dataset.prepare()
    return dataset


def files_of(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_the_files_are_those_of_mevisv2(rendered):
    root = Path(rendered.settings.root)
    names = [name for name in files_of(root) if not name.endswith(".jpg")]
    assert sorted(names) == ["rendered.json", "valid_u/mask_dict.json", "valid_u/meta_expressions_v2.json"]
    videos = json.loads((root / "valid_u/meta_expressions_v2.json").read_text())["videos"]
    masks = json.loads((root / "valid_u/mask_dict.json").read_text())
    kinds = set()
    for index, (name, entry) in enumerate(videos.items()):
        numbers = frame_numbers(index, 8)
        shot = mevis_clip("test", 0, index, None, times(numbers), (48, 80))
        assert name == shot.scene.name and entry["frames"] == [f"{n:05d}" for n in numbers]
        for e, expected in zip(entry["expressions"].values(), shot.expressions, strict=True):
            assert e["exp"] == expected.text and [k + 1 for k in e["obj_id"]] == list(expected.objects)
            assert len(e["anno_id"]) == len(e["obj_id"])
            kinds.add(len(e["obj_id"]))
            for anno, own in zip(e["anno_id"], e["obj_id"], strict=True):
                for rle, ids in zip(masks[str(anno)], shot.ids, strict=True):
                    true = ids == own + 1
                    assert rle is None if not true.any() else (coco.decode(rle) == true).all()
        assert all((root / "valid_u/JPEGImages" / name / f"{frame}.jpg").is_file() for frame in entry["frames"])
    assert kinds >= {0, 1, 2}


def test_the_reader_of_mevis_reads_them(rendered):
    clips = rendered.clips()
    same = Mevis(root=rendered.settings.root, split="valid_u").clips()
    assert [(c.name, c.frames, c.expressions) for c in clips] == [(c.name, c.frames, c.expressions) for c in same]
    assert rendered.zip_root == "" and rendered.check() == [] and len(clips) == 3
    shown = Counter()
    for index, clip in enumerate(clips):
        shot = mevis_clip("test", 0, index, None, times(frame_numbers(index, 8)), (48, 80))
        for e, expected in zip(clip.expressions, shot.expressions, strict=True):
            truth = clip.truth.read(e.id)
            assert e.text == expected.text
            assert (truth.presence == 0) == (expected.objects == ())
            assert all((truth.mask(t) == np.isin(shot.ids[t], expected.objects)).all() for t in range(8))
            shown[len(expected.objects)] += 1
    assert shown[0] and shown[1] and shown[2]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(rendered, tmp_path):
    Shapes(root=str(tmp_path / "again"), **TINY).prepare()
    assert files_of(tmp_path / "again") == files_of(Path(rendered.settings.root))
    Shapes(root=str(tmp_path / "other"), seed=1, **TINY).prepare()
    pictures = [
        {data for name, data in files_of(root).items() if name.endswith(".jpg")}
        for root in (tmp_path / "again", tmp_path / "other")
    ]
    assert len(pictures[0]) == 3 * 8 and not pictures[0] & pictures[1]


def test_no_clip_of_a_split_is_in_another_or_in_the_other_benchmark():
    places = {}
    for benchmark in BENCHMARKS:
        for split in SPLITS:
            for seed, index, attempt in np.ndindex(3, 8, 2):  # every other attempt only lends its paths
                scene = compose(split, seed, index, "easy", attempt, benchmark)
                places.setdefault((scene.texture, scene.things), []).append((benchmark, split, seed, index, attempt))
    assert len(places) == 2 * 3 * 3 * 8 * 2


def test_a_folder_of_the_other_benchmark_is_replaced_and_damage_is_repaired(tmp_path):
    root = tmp_path / "r"
    tiny = {**TINY, "clips": 2}
    Shapes(root=str(root), **{**tiny, "benchmark": "ref_youtube_vos"}).prepare()
    before = files_of(root)
    Shapes(root=str(root), **tiny).prepare()
    good = files_of(root)
    assert "valid_u/mask_dict.json" in good and not any(name.startswith("valid/") for name in good)
    (root / "rendered.json").unlink()
    (root / "valid_u/mask_dict.json").write_text("{}")
    Shapes(root=str(root), **tiny).prepare()
    assert files_of(root) == good
    Shapes(root=str(root), **{**tiny, "benchmark": "ref_youtube_vos"}).prepare()
    assert files_of(root) == before


def test_a_mevis_of_somebody_else_is_never_deleted(tmp_path):
    (tmp_path / "valid_u").mkdir()
    for name, content in (("mask_dict.json", {"0": [None]}), ("meta_expressions_v2.json", {"videos": {"a1b2": {}}})):
        (tmp_path / "valid_u" / name).write_text(json.dumps(content))
        with pytest.raises(InputError, match="files of another origin"):
            Shapes(root=str(tmp_path), **TINY).prepare()
        assert json.loads((tmp_path / "valid_u" / name).read_text()) == content


def test_several_seeds_are_one_benchmark(tmp_path):
    clips = Shapes(root=str(tmp_path / "both"), **{**TINY, "clips": 1}, seed=[3, 4]).clips()
    assert [clip.name[:6] for clip in clips] == ["seed3_", "seed4_"]
    assert all(len(clip.expressions) == EXPRESSIONS for clip in clips)


def test_the_recipe_table_gives_the_defaults(monkeypatch):
    monkeypatch.setenv("RVOS_ENSEMBLE_CACHE", "somewhere")
    table = OmegaConf.create({"data": OmegaConf.load(REPOSITORY / "recipes" / "data" / "shapes_mevis.yaml")})
    data = OmegaConf.to_container(table, resolve=True)["data"]
    assert data.pop("dataset") == "shapes" and data.pop("benchmark") == "mevis"
    assert data["root"] == "somewhere/shapes_mevis/test_None_16x24_180x320_seed0"
    assert all(data[key] == Shapes.defaults[key].default for key in data.keys() - {"root", "seed", "clips"})


def test_the_contact_sheet_shows_expressions_without_a_target():
    sheets = [clips_sheet(0, 2, 3, 5, (48, 80), benchmark=benchmark) for benchmark in BENCHMARKS]
    assert [sheet.shape for sheet in sheets] == [(2 * 52, 3 * 84, 3)] * 2 and (sheets[0] != sheets[1]).any()
