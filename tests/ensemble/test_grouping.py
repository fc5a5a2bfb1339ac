"""Which expressions refer to the same object."""

import json
from dataclasses import replace

import numpy as np
import pytest

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.ensemble.fusion.grouping import group_expressions


class Blank:
    size = (8, 12)


def clip_of(objects, known=False, name="v"):
    """A clip whose i-th expression refers to objects[i]."""
    expressions = tuple(
        Expression(name, str(i), f"object {o}", (str(o),) if known else ()) for i, o in enumerate(objects)
    )
    return Clip(name, ("0", "1", "2"), expressions, Blank())


def masks_of(objects, seed, noise=0.1):
    """A model that distinguishes the objects: each object is a separate block, with noise."""
    random = np.random.default_rng(seed)
    prediction = {}
    for i, o in enumerate(objects):
        mask = np.zeros((3, 64, 16 * (max(objects) + 1)), bool)
        mask[:, 8:56, 16 * o : 16 * o + 14] = True
        prediction[str(i)] = MaskSequence.binary(mask ^ (random.random(mask.shape) < noise))
    return prediction


def cut(objects):
    """The truth: consecutive expressions of one object, at most two."""
    groups = []
    for i, o in enumerate(objects):
        if groups and len(groups[-1]) == 1 and objects[int(groups[-1][0])] == o:
            groups[-1].append(str(i))
        else:
            groups.append([str(i)])
    return groups


# The odd-count videos of Ref-YouTube-VOS, grouped by hand from their texts (../shared/facts/evaluation.md, section 5).
ODD = {
    "466734bc5c": [0, 1, 1, 2, 2],
    "8dea7458de": [0, 1, 1],
    "822c31928a": [0, 0, 1, 1, 2],
    "bf2d38aefe": [0, 0, 1, 1, 2],
    "7daa6343e6": [0, 0, 1, 1, 2],
    "a7462d6aaf": [0, 0, 1],
    "33f64e8567": [0, 0, 1, 1, 2],
    "42d810ba9d": [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5],
    "77852f05dc": [0, 1, 1, 2, 2],
    "d144f4b0fe": [0, 1, 1],
    "56e991f4a6": [0, 0, 1, 1, 2, 3, 3],
    "d56abea32c": [0, 0, 1],
    "ea7063a3d9": [0, 0, 1],
    "eece779685": [0],
}


@pytest.mark.parametrize("video", ODD)
def test_runs_get_the_odd_videos_right(video):
    objects = ODD[video]
    models = [masks_of(objects, seed) for seed in range(3)]
    assert group_expressions(clip_of(objects), models) == cut(objects)


def test_the_odd_videos_are_those_of_the_official_file(shared):
    meta = json.loads((shared / "data/expressions/ref_ytvos_valid_meta_expressions.json").read_text())["videos"]
    for video, objects in ODD.items():
        assert len(meta[video]["expressions"]) == len(objects)


def test_all_official_videos_pass_through_grouping(shared):
    """Even counts as the winners pair them; in odd ones every expression is in one group of at most two."""
    meta = json.loads((shared / "data/expressions/ref_ytvos_valid_meta_expressions.json").read_text())["videos"]
    groups = {}
    for video, entry in meta.items():
        objects = ODD.get(video) or [i // 2 for i in range(len(entry["expressions"]))]
        groups[video] = group_expressions(clip_of(objects), [masks_of(objects, 0, noise=0.01)], "runs")
        assert groups[video] == cut(objects)
    assert len(groups) == 507 and sum(len(g) for of in groups.values() for g in of) == 2096
    odd = [v for v, entry in meta.items() if len(entry["expressions"]) % 2]
    assert len(odd) == 20 and all([len(g) for g in groups[v]].count(1) % 2 for v in odd)


@pytest.mark.parametrize("count", [2, 4, 8, 12])
def test_runs_equal_the_winners_rule_where_it_holds(count):
    objects = [i // 2 for i in range(count)]
    models = [masks_of(objects, seed, noise=0.04) for seed in range(3)]
    clip = clip_of(objects)
    assert group_expressions(clip, models, "runs") == group_expressions(clip, models, "pairs")


def test_twins_that_all_look_alike_still_pair_from_the_start():
    models = [masks_of([0, 0, 0, 0], seed) for seed in range(3)]
    assert group_expressions(clip_of([0] * 4), models, "runs") == [["0", "1"], ["2", "3"]]


def test_a_pair_needs_at_least_half_of_the_models():
    apart = masks_of([0, 1], 0)
    same = {"0": apart["0"], "1": apart["0"]}
    clip = clip_of([0, 1])
    assert group_expressions(clip, [apart, apart, same], "runs") == [["0"], ["1"]]
    assert group_expressions(clip, [apart, same, same], "runs") == [["0", "1"]]


def test_masks_that_show_nothing_are_no_evidence():
    nothing = {str(i): MaskSequence.binary(np.zeros((3, 8, 12), bool)) for i in range(2)}
    assert group_expressions(clip_of([0, 1]), [nothing], "runs") == [["0"], ["1"]]


def paired(objects):
    """A clip of a data set that lists two expressions per object."""
    return replace(clip_of(objects), in_pairs=True)


def test_auto_keeps_the_data_sets_pairs_where_models_misunderstand_one_of_two():
    models = [masks_of([0, 0, 1, 2, 3, 3], seed) for seed in range(3)]  # the fourth is mistaken for another object
    objects = [0, 0, 1, 1, 3, 3]
    assert group_expressions(paired(objects), models) == [["0", "1"], ["2", "3"], ["4", "5"]]
    assert group_expressions(clip_of(objects), models) == [["0", "1"], ["2"], ["3"], ["4", "5"]], "not listed in pairs"


@pytest.mark.parametrize("video", ODD)
def test_auto_finds_the_one_that_is_alone(video):
    models = [masks_of(ODD[video], seed) for seed in range(3)]
    assert group_expressions(paired(ODD[video]), models) == cut(ODD[video])


def test_auto_follows_the_masks_if_they_contradict_pairs():
    models = [masks_of([0, 1, 2, 3], seed) for seed in range(3)]
    assert group_expressions(paired([0, 1, 2, 3]), models) == [["0"], ["1"], ["2"], ["3"]]
    assert group_expressions(paired([0]), [masks_of([0], 0)]) == [["0"]]


def test_obj_id_groups_by_object_in_any_order():
    clip = clip_of([0, 1, 0, 1, 1], known=True)
    assert group_expressions(clip, [], "auto") == [["0", "2"], ["1", "3", "4"]]
    with pytest.raises(InputError, match="does not say which object"):
        group_expressions(clip_of([0]), [], "obj_id")


def test_pairs_and_none():
    clip = clip_of([0] * 5)
    assert group_expressions(clip, [], "pairs") == [["0", "1"], ["2", "3"], ["4"]]
    assert group_expressions(clip, [], "none") == [["0"], ["1"], ["2"], ["3"], ["4"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"w": [["0"]]}', "no groups for clip 'v'"),
        ('{"v": [["0"]]}', "each of .* once"),
        ('{"v": [["0", "1"], ["1"]]}', "each of .* once"),
        ("{", "not a json file"),
    ],
)
def test_groups_of_a_file_that_does_not_fit(tmp_path, content, message):
    file = tmp_path / "groups.json"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        group_expressions(clip_of([0, 0]), [], "file", file=str(file))


def test_groups_of_a_file(tmp_path):
    file = tmp_path / "groups.json"
    file.write_text('{"v": [[1], [0, 2]]}')
    assert group_expressions(clip_of([0, 1, 0]), [], "file", file=str(file)) == [["1"], ["0", "2"]]
    with pytest.raises(InputError, match="unknown rule 'pear'"):
        group_expressions(clip_of([0]), [], "pear")
