"""Several instances of an expression: the steps `seeds` and `unite`, their propagation, and whole recipes."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.ops import OPS
from helpers.tiny import FRAMES, H, T, W, make_tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import run_ensemble
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.instances import as_objects, by_expression, no_instance, seed
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Objects, check_prediction
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.files.readers.coco_rle import encode
from rvos_ensemble.ensemble.engine.storage import store
from rvos_ensemble.ensemble.fusion.seeds import components
from rvos_ensemble.ensemble.steps.unite import united
from rvos_ensemble.propagators.core.rounds.rounds import propagate_in_rounds
from rvos_ensemble.propagators.flow import Flow

SIZE = (24, 40)


class Frames:
    """A random pattern in which two blocks move."""

    size = SIZE

    def read(self, t):
        random = np.random.default_rng(0)
        image = random.integers(0, 100, (*SIZE, 3), np.uint8)
        for mask in (left(t), right(t)):
            image[mask] = random.integers(100, 256, (mask.sum(), 3), np.uint8)
        return image

    def fingerprint(self):
        return ""


CLIP = Clip(
    "v", tuple("abcdef"), tuple(Expression("v", i, text) for i, text in (("0", "both blocks"), ("1", "none"))), Frames()
)
LENGTH = len(CLIP)
EMPTY = np.zeros(SIZE, bool)


def block(top, start, height=8, width=9):
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, start : start + width] = True
    return mask


def left(t):
    return block(3, 2 + t)


def right(t):
    return block(12, 28 - t)


def seeds_of_both():
    """Two instances with key frames of their own, and an expression that refers to nothing."""
    instances = {"left": seed(LENGTH, 1, left(1), 0.5, 1.0), "right": seed(LENGTH, 4, right(4), 0.75, 1.0)}
    return as_objects(CLIP, {"0": instances, "1": {}})


class CountingFlow(Flow):
    """Optical flow that records its sweeps."""

    sweeps = ()

    def sweep(self, size, sequences):
        type(self).sweeps += (sequences,)
        return super().sweep(size, sequences)


def propagated(objects, propagator=None, op="propagate", **settings):
    step = OPS[op]("p", input="s", **{"with": "flow"}, key_frame="given", **settings)
    tasks = step.tasks(CLIP, {"s": objects})
    return step.results({"s": objects}, iter(propagate_in_rounds(CLIP, tasks, propagator or Flow())))


def unite(objects):
    return OPS["unite"]("u", input="p").run(CLIP, {"p": objects})


# ------------------------------------------------------------------------------------------------------- propagation
def test_all_instances_share_one_sweep_in_each_direction_and_equal_those_propagated_alone():
    CountingFlow.sweeps = ()
    together = propagated(seeds_of_both(), CountingFlow())
    assert CountingFlow.sweeps == (3, 3), "forward and backward, for the two seeds and the expression without seeds"
    for name, sequence in seeds_of_both().items():
        (alone,) = propagated(Objects({name: sequence})).values()
        for t in range(LENGTH):
            assert np.array_equal(together[name].masks[t], alone.masks[t])
        assert np.array_equal(together[name].scores, alone.scores)
    for name, move, key in (("0/left", left, 1), ("0/right", right, 4)):
        assert all(together[name].mask(t).any() for t in range(LENGTH)), "both ways from its own key frame"
        assert np.array_equal(together[name].mask(key), move(key))


@pytest.mark.parametrize("op, more", [("propagate", {}), ("refine", {"rounds": 3}), ("track", {})])
def test_notes_and_presence_survive_propagation_and_store(op, more):
    start = store.decode(store.encode(seeds_of_both()))
    found = store.decode(store.encode(propagated(start, op=op, **more)))
    assert isinstance(found, Objects) and list(found) == ["0/left", "0/right", "1/"]
    assert [s.presence for s in found.values()] == [1.0, 1.0, 0.0]
    about = [(s.notes["expression"], s.notes["instance"], s.notes["key_frame"]) for s in found.values()]
    assert about == [("0", "left", 1), ("0", "right", 4), ("1", None, 0)]
    assert found["0/left"].notes["propagator"] == "flow"


def test_an_instance_has_the_sentence_of_its_expression():
    """For propagators that read text."""
    step = OPS["propagate"]("p", input="s", **{"with": "flow"}, key_frame="given")
    assert [task.sentence for task in step.tasks(CLIP, {"s": seeds_of_both()})] == [
        "both blocks",
        "both blocks",
        "none",
    ]


# ------------------------------------------------------------------------------------------------------------- unite
def test_the_union_of_propagated_instances():
    tracks = propagated(seeds_of_both())
    found = check_prediction(unite(tracks), CLIP, "u")
    assert not isinstance(found, Objects) and list(found) == ["0", "1"]
    for t in range(LENGTH):
        assert np.array_equal(found["0"].masks[t], np.maximum(tracks["0/left"].masks[t], tracks["0/right"].masks[t]))
        assert np.array_equal(found["0"].mask(t), tracks["0/left"].mask(t) | tracks["0/right"].mask(t))
    assert found["0"].scores == pytest.approx((tracks["0/left"].scores + tracks["0/right"].scores) / 2, abs=1e-6)
    assert found["0"].notes == {"instances": {"left": [1], "right": [4]}, "key_frames": [1, 4]}
    assert found["0"].presence == 1 and found["1"].presence == 0
    assert found["1"].is_empty() and found["1"].notes == {"instances": {}}
    assert {e: s.notes for e, s in store.decode(store.encode(found)).items()} == {e: s.notes for e, s in found.items()}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(arrays(np.uint8, (2, 2, 3)), st.booleans()), min_size=1, max_size=4),
    st.lists(st.sampled_from([None, 0.0, 0.25, 1.0]), min_size=4, max_size=4),
)
def test_the_union_is_the_definition(drawn, presences):
    sequences = []
    for number, ((masks, soft), presence) in enumerate(zip(drawn, presences, strict=False)):
        made = MaskSequence.prob(masks) if soft else MaskSequence.binary(masks > 99)
        notes = {"expression": "0", "instance": str(number), "key_frame": number % 2}
        sequences.append(made.with_(notes=notes, presence=presence, scores=np.float32([number, 1])))
    union = united(sequences)
    assert union.kind == ("prob" if any(soft for _, soft in drawn) else "binary")
    for t, y, x in np.ndindex(2, 2, 3):
        values = [int(m[t, y, x]) if soft else 255 * int(m[t, y, x] > 99) for m, soft in drawn]
        assert union.prob_at(t)[y, x] == max(values)
        assert union.mask(t)[y, x] == any(v > 127 for v in values)
    assert union.scores.tolist() == pytest.approx([(len(drawn) - 1) / 2, 1])
    known = [p for p in presences[: len(drawn)] if p is not None]
    assert union.presence == (max(known) if known else None)


def test_a_union_without_all_scores_has_none():
    sequences = list(seeds_of_both().values())
    assert united([sequences[0], sequences[1].with_(scores=None)]).scores is None


def test_dropped_seeds_are_noted_once():
    notes = {"dropped": ["the mask of instance 'x' is empty"]}
    objects = seeds_of_both()
    for name in ("0/left", "0/right"):
        objects[name] = objects[name].with_(notes={**objects[name].notes, **notes})
    objects["1/"] = no_instance(CLIP, "1", presence=1.0, **notes)
    found = unite(propagated(objects))
    assert found["0"].notes["dropped"] == found["1"].notes["dropped"] == notes["dropped"]
    assert found["1"].presence == 1 and found["1"].is_empty()


def test_what_unite_cannot_join_is_refused():
    lone = Objects({"0/left": seeds_of_both()["0/left"]})
    with pytest.raises(InputError, match="does not list the expressions 1; list an expression that refers to nothing"):
        unite(lone)
    other = Objects({"7": MaskSequence.binary([EMPTY] * LENGTH)})
    with pytest.raises(InputError, match=r"objects that belong to no expression \(7\).*use `ground`"):
        unite(other)
    elsewhere = as_objects(CLIP, {"0": {}, "1": {}, "7": {}})
    assert list(by_expression(elsewhere, CLIP, "s")) == ["0", "1"], "an expression that the data set does not have"


# ------------------------------------------------------------------------------------------------------ the step seeds
def flood_fill(mask):
    """The components with 8 neighbours, one pixel at a time."""
    left_over, found = {(y, x) for y, x in np.argwhere(mask).tolist()}, []
    while left_over:
        part, todo = set(), [left_over.pop()]
        while todo:
            y, x = todo.pop()
            part.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left_over
            left_over -= near
            todo += near
        found.append(part)
    return found


@settings(max_examples=60, deadline=None)
@given(arrays(bool, (6, 9)), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_components_are_the_definition(mask, min_share):
    parts = flood_fill(mask)
    expected = [part for part in parts if len(part) >= min_share * max(map(len, parts))]
    found = components(mask, min_share)
    assert {frozenset(map(tuple, np.argwhere(c).tolist())) for c in found} == {frozenset(p) for p in expected}
    areas = [int(c.sum()) for c in found]
    assert areas == sorted(areas, reverse=True) and bool(areas) == mask.any() and all(c.dtype == bool for c in found)


def source(masks, scores=None, presence=None):
    both = MaskSequence.binary(masks, scores).with_(presence=presence)
    return {"0": both, "1": MaskSequence.binary([EMPTY] * LENGTH, np.zeros(LENGTH)).with_(presence=presence)}


def both_blocks(scores=(0.1, 0.2, 0.9, 0.3, 0.4, 0.5)):
    masks = [left(t) | right(t) for t in range(LENGTH)]
    for mask in masks:
        mask[23, 39] = True  # a speck
    return source(masks, scores)


def test_seeds_are_the_components_on_the_key_frame():
    found = OPS["seeds"]("s", inputs=["soc"]).run(CLIP, {"soc": both_blocks()})
    check_prediction(found, CLIP, "s")
    assert list(found) == ["0/soc.2.0", "0/soc.2.1", "1/"], "the speck is no instance"
    masks = [found[name].mask(2) for name in ("0/soc.2.0", "0/soc.2.1")]
    assert {m.tobytes() for m in masks} == {left(2).tobytes(), right(2).tobytes()}
    for name in ("0/soc.2.0", "0/soc.2.1"):
        assert found[name].notes["key_frame"] == 2 and found[name].scores.tolist() == pytest.approx(
            [0, 0, 0.9, 0, 0, 0]
        )
    assert found["1/"].is_empty() and found["1/"].presence is None, "the source did not say so"
    assert len(OPS["seeds"]("s", inputs=["soc"], min_share=0).run(CLIP, {"soc": both_blocks()})) == 4
    whole = OPS["seeds"]("s", inputs=["soc"], components=False).run(CLIP, {"soc": both_blocks()})
    assert list(whole) == ["0/soc.2", "1/"]
    assert np.array_equal(whole["0/soc.2"].mask(2), both_blocks()["0"].mask(2))


def test_seeds_of_several_sources_and_key_frames():
    """Seeds that show the same instance in the same frame are dropped, or reported."""
    inputs = {"a": both_blocks(), "b": source([left(t) for t in range(LENGTH)], (0, 0, 1, 0, 0, 0), presence=0.75)}
    found = OPS["seeds"]("s", inputs=["a", "b"]).run(CLIP, inputs)
    assert list(found)[1:] == ["0/b.2.0", "1/"] and next(iter(found)).startswith("0/a.2.")
    assert len(found["0/b.2.0"].notes["dropped"]) == 1, "b has the higher score"
    assert found["0/b.2.0"].presence == found["1/"].presence == 0.75
    with pytest.raises(InputError, match=r"have an IoU of 1\.000 in frame 'c'.*bad: drop"):
        OPS["seeds"]("s", inputs=["a", "b"], bad="report").run(CLIP, inputs)
    top = OPS["seeds"]("s", inputs=["a"], key_frame={"rule": "top", "k": 2, "apart": 2}).run(CLIP, inputs)
    assert sorted(s.notes["key_frame"] for s in top.values()) == [0, 2, 2, 5, 5]


def test_an_empty_mask_in_a_named_key_frame_is_a_bad_seed():
    masks = [EMPTY, *(left(t) for t in range(1, LENGTH))]
    given_frame = source(masks)
    given_frame["0"] = given_frame["0"].with_(notes={"key_frame": 0})
    given_frame["1"] = given_frame["1"].with_(notes={"key_frame": 0})
    step = OPS["seeds"]("s", inputs=["a"], key_frame="given", bad="report")
    with pytest.raises(InputError, match=r"expression '0': the mask of instance 'a\.0' is empty"):
        step.run(CLIP, {"a": given_frame})
    dropped = OPS["seeds"]("s", inputs=["a"], key_frame="given").run(CLIP, {"a": given_frame})
    assert dropped["0/"].notes["dropped"] and "dropped" not in dropped["1/"].notes


def test_seeds_of_instances_keep_them_apart():
    """The queries of a source that tracks several objects."""
    queries = {
        "7": MaskSequence.binary([left(t) for t in range(LENGTH)], (0, 1, 0, 0, 0, 0), key_frame=1),
        "9": MaskSequence.binary([right(t) for t in range(LENGTH)], (0, 0, 0, 0.5, 0, 0), key_frame=3),
    }
    objects = as_objects(CLIP, {"0": queries, "1": {}})
    found = OPS["seeds"]("s", inputs=["dino"], key_frame="given").run(CLIP, {"dino": objects})
    assert {name: s.notes["key_frame"] for name, s in found.items()} == {"0/dino.7.1.0": 1, "0/dino.9.3.0": 3, "1/": 0}
    assert found["1/"].presence == 0
    direct, split = propagated(objects), propagated(found)
    for name, other in (("0/7", "0/dino.7.1.0"), ("0/9", "0/dino.9.3.0")):
        assert all(np.array_equal(direct[name].mask(t), split[other].mask(t)) for t in range(LENGTH))


def test_what_cannot_give_seeds_is_known_before_the_run():
    step = OPS["seeds"]("s", inputs=["a", "b"])
    known = {"a": Traits("votes"), "b": Traits("binary", scores=False)}
    problems = step.input_problems(CLIP, known)
    assert "input a is a vote map" in problems[0] and "b has no scores" in problems[-1]
    assert step.traits(known) == Traits("binary", scores=True, key_frame=True, objects=True, signals=())
    known["a"] = Traits("prob", presence=True)
    assert step.traits(known).presence is True
    tracks = Traits("prob", scores=True, key_frame=True, objects=True, presence=True)
    united_traits = OPS["unite"]("u", input="p").traits({"p": tracks})
    assert united_traits == Traits("prob", scores=True, key_frame=False, presence=True)
    for s in unite(propagated(seeds_of_both())).values():
        assert s.kind == "prob" and s.scores is not None and s.presence is not None and "key_frame" not in s.notes
    with pytest.raises(InputError, match="no rule is called 'best'"):
        OPS["seeds"]("s", inputs=["a"], key_frame="best")


# ---------------------------------------------------------------------------------------------------- ReferDINO-Plus
def published(original, propagated):
    """`multi_obj` of refine_from_refdino.py (iSEE-Laboratory/ReferDINO-Plus), from bool arrays [T, H, W]."""
    lost = frames = 0
    for a, b in zip(original, propagated, strict=True):
        areas = []
        for mask in (a, b):
            ys, xs = np.nonzero(mask)
            areas.append((ys.max() - ys.min()) * (xs.max() - xs.min()) if len(ys) else 0)
        if areas[0] > 0 and areas[1] > 0:
            frames += 1
            lost += areas[1] * 3 < areas[0] * 2
    return lost * 2 > frames


@settings(max_examples=60, deadline=None)
@given(arrays(bool, (2, 5, 5, 6), elements=st.sampled_from([False] * 5 + [True])))
def test_box_areas_are_those_of_the_published_code(masks):
    clip = Clip("v", tuple("abcde"), (Expression("v", "0", ""),), SimpleNamespace(size=(5, 6)))
    pair = {name: {"0": MaskSequence.binary(m)} for name, m in zip("ab", masks, strict=True)}
    found = OPS["replace_or_union"]("r", inputs=["a", "b"], area="box").run(clip, pair)["0"]
    assert found.notes["united"] == published(*masks)
    expected = masks[0] | masks[1] if published(*masks) else masks[1]
    assert all(np.array_equal(found.mask(t), expected[t]) for t in range(5))


def test_boxes_and_pixels_can_differ():
    """Thin masks in a large box: the propagated mask has few pixels, but the same box."""
    clip = Clip("v", ("a",), (Expression("v", "0", ""),), SimpleNamespace(size=(5, 6)))
    full, diagonal = np.ones((1, 5, 6), bool), np.zeros((1, 5, 6), bool)
    diagonal[0, 0, 0] = diagonal[0, 4, 5] = True
    pair = {"a": {"0": MaskSequence.binary(full)}, "b": {"0": MaskSequence.binary(diagonal)}}
    results = {
        area: OPS["replace_or_union"]("r", inputs=["a", "b"], area=area).run(clip, pair)["0"].notes["united"]
        for area in ("pixels", "box")
    }
    assert results == {"pixels": True, "box": False}


# ------------------------------------------------------------------------------------------------------ whole recipes
RECIPE = """
data: {{dataset: ref_youtube_vos, root: {root}, split: valid}}
sources:
  agent: {{adapter: seeds, path: {seeds}}}
  soc: {{adapter: files, path: {root}/predictions/soc}}
propagators: {{flow: {{}}}}
steps:
  tracks: {{op: propagate, input: agent, with: flow, key_frame: given}}
  instances: {{op: unite, input: tracks}}
  soc_seeds: {{op: seeds, inputs: soc, key_frame: argmax}}
  soc_tracks: {{op: propagate, input: soc_seeds, with: flow, key_frame: given}}
  soc_instances: {{op: unite, input: soc_tracks}}
  safe: {{op: replace_or_union, inputs: [soc, soc_instances], area: box}}
output: instances
engine: {{workers: 1}}
"""


def block_of(clip, t, number):
    """A block of the tiny benchmark, from its ground truth."""
    return np.array(Image.open(clip.root / "valid/Annotations/a" / f"{FRAMES[t]}.png")) == number


@pytest.fixture
def tiny(tmp_path):
    made = make_tiny(tmp_path, clips=("a",))
    (first,), (second,) = encode([block_of(made, 1, 1)]), encode([block_of(made, 3, 2)])
    content = {
        "a": {
            "0": [{"frame": FRAMES[1], "mask": first, "instance": "x"}, {"frame": 3, "mask": second, "instance": "y"}],
            "1": [{"frame": FRAMES[1], "mask": first, "instance": "x"}],
            "2": [],
        }
    }
    seeds = tmp_path / "seeds.json"
    seeds.write_text(json.dumps(content))
    made.recipe.write_text(RECIPE.format(root=made.root, seeds=seeds))
    return SimpleNamespace(**vars(made), seeds=seeds, content=content, arguments=made.arguments)


def pictures(tiny, expression):
    folder = tiny.out / "Annotations" / "a" / expression
    return np.stack([np.array(Image.open(folder / f"{frame}.png")) > 0 for frame in FRAMES])


def test_seeds_on_disk_become_a_submission(tiny):
    assert run_ensemble.main(tiny.arguments) == 0
    both, one, nothing = (pictures(tiny, e) for e in "012")
    assert not nothing.any() and nothing.shape == (T, H, W), "black pictures for an expression that refers to nothing"
    assert np.array_equal(both[1] & block_of(tiny, 1, 1), block_of(tiny, 1, 1))
    assert np.array_equal(one[1], block_of(tiny, 1, 1)), "the key frame is the seed"
    assert (both & one == one).all() and (both & ~one)[3].sum() >= block_of(tiny, 3, 2).sum()
    record = json.loads((tiny.out / "clips" / "a.json").read_text())
    notes = record["notes"]["instances"]
    assert notes["0"]["instances"] == {"x": [1], "y": [3]} and notes["2"]["instances"] == {}
    assert (tiny.out / "submission.zip").exists() and (tiny.out / "report.html").exists()
    assert record["notes"]["soc_instances"]["2"]["instances"] and "united" in record["notes"]["safe"]["0"]


def test_bad_seeds_end_before_the_run_unless_the_recipe_drops_them(tiny, capsys):
    tiny.content["a"]["0"][1]["frame"] = 99
    del tiny.content["a"]["2"]
    tiny.seeds.write_text(json.dumps(tiny.content))
    assert run_ensemble.main(tiny.arguments) == 2
    assert "expression '2': not listed" in capsys.readouterr().err
    tiny.content["a"]["2"] = []
    tiny.seeds.write_text(json.dumps(tiny.content))
    assert run_ensemble.main(tiny.arguments) == 2
    assert "is in frame 99" in capsys.readouterr().err
    assert run_ensemble.main([*tiny.arguments, "sources.agent.bad=drop"]) == 0
    assert np.array_equal(pictures(tiny, "0"), pictures(tiny, "1"))
    record = json.loads((tiny.out / "clips" / "a.json").read_text())
    assert "frame 99" in record["notes"]["instances"]["0"]["dropped"][0]


def test_objects_are_no_output(tiny, capsys):
    assert run_ensemble.main([*tiny.arguments, "output=tracks"]) == 2
    assert "`ground` or `unite` them" in capsys.readouterr().err
    assert run_ensemble.main([*tiny.arguments, "steps.instances.input=soc"]) == 2
    assert "input soc gives masks of expressions, expected objects" in capsys.readouterr().err
