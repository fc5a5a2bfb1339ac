"""Seeds on disk: this package's json and the tree of SAM3-agent, bad seeds, and files that are no seeds."""

import json
import shutil
import zipfile
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.prediction import Objects, check_prediction
from rvos_ensemble.adapters.files.seeds.seed import Listing, Seed, seed_objects, sort_out
from rvos_ensemble.adapters.seeds import Seeds

T, H, W = 6, 12, 20


def clip_of(length=T, expressions=("0", "1"), name="v"):
    images = SimpleNamespace(
        size=(H, W), read=lambda t: np.zeros((H, W, 3), np.uint8), fingerprint=lambda: "", problems=lambda: []
    )
    of = tuple(Expression(name, i, f"expression {i}") for i in expressions)
    return Clip(name, tuple(f"{5 * t:05d}" for t in range(length)), of, images)


def block(top, left, height=4, width=5):
    mask = np.zeros((H, W), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def counts(mask):
    return coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()


def rle(mask):
    return {"size": [H, W], "counts": counts(mask)}


def failure(function, *arguments) -> str:
    with pytest.raises(InputError) as error:
        function(*arguments)
    return "\n".join(error.value.problems)


# ------------------------------------------------------------------------------------------------------ our own format
@pytest.fixture
def write(tmp_path):
    def write(expressions, name="seeds.json", **options):
        file = tmp_path / name
        file.write_text(expressions if isinstance(expressions, str) else json.dumps({"v": expressions}))
        return Seeds(path=str(file), **options)

    return write


def test_seeds_are_objects_with_a_mask_in_their_key_frame(write):
    left, right = block(1, 1), block(5, 12)
    expressions = {
        "0": [
            {"frame": "00010", "mask": rle(left), "instance": "left dog", "score": 0.75},
            {"frame": "00025.jpg", "mask": rle(right), "instance": "right dog"},
        ],
        "1": [{"frame": 4, "mask": rle(right)}],
        "7": "an expression that the data set does not have",
    }
    clip = clip_of()
    adapter = write(expressions)
    found = check_prediction(adapter.predict(clip), clip, "seeds")
    assert isinstance(found, Objects) and list(found) == ["0/left dog", "0/right dog", "1/1"]
    expected = {"0/left dog": (2, left, 0.75), "0/right dog": (5, right, 1.0), "1/1": (4, right, 1.0)}
    for name, (key, mask, score) in expected.items():
        s = found[name]
        expression, _, instance = name.partition("/")
        assert s.notes == {"expression": expression, "instance": instance, "key_frame": key} and s.presence == 1
        for t in range(T):
            assert np.array_equal(s.mask(t), mask if t == key else np.zeros((H, W), bool))
            assert s.scores[t] == (score if t == key else 0)
    assert adapter.check([clip]) == adapter.inspect(clip) == []


def test_an_empty_list_refers_to_nothing_and_a_missing_one_is_an_error(write):
    clip = clip_of()
    found = write({"0": [], "1": [{"frame": 0, "mask": rle(block(0, 0))}]}).predict(clip)
    nothing = found["0/"]
    assert nothing.presence == 0 and nothing.is_empty()
    assert nothing.notes == {"expression": "0", "instance": None, "key_frame": 0}
    message = failure(write({"0": []}).predict, clip)
    assert "expression '1': not listed" in message and "[]" in message
    assert "no seeds of video 'v'; it has w" in failure(write('{"w": {}}').predict, clip)


def test_equal_seeds_share_their_masks(write):
    same = [{"frame": 2, "mask": rle(block(1, 1))}]
    found = write({"0": same, "1": same}).predict(clip_of())
    assert found["0/1"].masks is found["1/1"].masks, "so that they are propagated once"


BAD = {
    "0": [
        {"frame": 2, "mask": rle(block(1, 1)), "instance": "a", "score": 0.5},
        {"frame": 2, "mask": rle(block(1, 1, 4, 6)), "instance": "b", "score": 0.75},  # IoU 20 / 24
        {"frame": 3, "mask": rle(block(1, 1)), "instance": "c"},  # the same in another frame
        {"frame": 2, "mask": None, "instance": "d"},
        {"frame": 6, "mask": rle(block(1, 1)), "instance": "e"},
        {"frame": "00004", "mask": rle(block(1, 1)), "instance": "f"},
    ],
    "1": [{"frame": 1, "mask": rle(np.zeros((H, W), bool)), "instance": "g"}],
}


def test_bad_seeds_are_all_reported(write):
    adapter = write(BAD)
    problems = adapter.check([clip_of()])
    assert problems == adapter.inspect(clip_of()) and len(problems) == 5
    text = "\n".join(problems)
    for part in (
        "instances 'a' and 'b' have an IoU of 0.833 in frame '00010', at most 0.7",
        "expression '0': the mask of instance 'd' is empty",
        "instance 'e' is in frame 6, which the clip does not have",
        "instance 'f' is in frame '00004', which the clip does not have",
        "expression '1': the mask of instance 'g' is empty",
    ):
        assert part in text
    assert "bad: drop" in text


def test_bad_seeds_are_dropped_with_a_note(write):
    found = write(BAD, bad="drop").predict(clip_of())
    assert list(found) == ["0/b", "0/c", "1/"], "of two overlapping seeds, the one with the higher score remains"
    assert len(found["0/b"].notes["dropped"]) == 4 and found["0/c"].notes["dropped"] == found["0/b"].notes["dropped"]
    lost = found["1/"]
    assert lost.is_empty() and lost.presence == 1, "the source says that it refers to something"
    assert lost.notes["dropped"] == ["the mask of instance 'g' is empty"]
    assert list(write(BAD, bad="drop", max_iou=0.9).predict(clip_of())) == ["0/a", "0/b", "0/c", "1/"]


@pytest.mark.parametrize(
    "expressions, message",
    [
        ({"0": [{"frame": 0, "mask": {"size": [9, 9], "counts": "99"}}]}, "size [9, 9], expected the clip's [12, 20]"),
        ({"0": [{"frame": 0, "mask": {"size": [H, W], "counts": "0"}}]}, "damaged"),
        ({"0": [{"frame": True, "mask": None}]}, "`frame` is True"),
        ({"0": [{"frame": 1.0, "mask": None}]}, "`frame` is 1.0"),
        ({"0": [{"mask": None}]}, "expected a seed"),
        ({"0": [{"frame": 0, "mask": None, "scor": 1}]}, "unknown key 'scor'"),
        ({"0": [{"frame": 0, "mask": None, "score": 1.5}]}, "`score` is 1.5"),
        ({"0": [{"frame": 0, "mask": None, "score": float("nan")}]}, "`score` is nan"),
        ({"0": [{"frame": 0, "mask": None, "score": True}]}, "`score` is True"),
        ({"0": [{"frame": 0, "mask": None, "instance": " "}]}, "`instance` is ' '"),
        ({"0": [{"frame": 0, "mask": None, "instance": 3}]}, "`instance` is 3"),
        ({"0": [{"frame": t, "mask": rle(block(1, 1)), "instance": "a"} for t in (0, 1)]}, "2 seeds of instance 'a'"),
        ({"0": [None, None]}, "expected a seed"),
        ({"0": [rle(block(0, 0))] * T}, "the adapters `files` and `proposals` read"),
        ({"0": {"prediction_masks": [], "exp": "x"}}, "results.json of Sa2VA"),
        ({"0": [{"object_name": "a dog", "best_frame": 3}]}, "an answer of a language model"),
        ({"0": None}, "expected a list of seeds"),
        ({"00000": [{**rle(block(0, 0)), "score": 1}]}, "not listed"),
        ({"expressions": {"0": {"exp": "a dog"}}, "frames": []}, "a list of the expressions of a data set"),
        ([], "video 'v' has []"),
    ],
)
def test_what_is_no_seed_is_named(write, expressions, message):
    text = failure(write(expressions, bad="drop").predict, clip_of(expressions=("0",)))
    assert message in text and "seeds.json" in text


@pytest.mark.parametrize(
    "text, message",
    [
        ("[]", "a json list"),
        ('{"v": {"0": [', "cannot be read as json"),
        ("The dogs are in frame 3.", "cannot be read as json"),
        (
            json.dumps({"orig_img_h": H, "orig_img_w": W, "pred_masks": []}),
            "no seeds of video 'v'; this is a pred.json of SAM3-agent",
        ),
        (json.dumps({"video_id": "v", "results": []}), "give the folder of the answers as `answers`"),
        (json.dumps({"is_match": True, "reason": ""}), "a verdict of a language model"),
    ],
)
def test_other_json_is_named(write, text, message):
    assert message in failure(write(text).predict, clip_of())


SCALARS = st.sampled_from([None, True, -1, 0, 5, 6, 10**400, 0.5, float("nan"), "", "0", "00010", "00010.jpg", [], {}])
ENTRIES = SCALARS | st.fixed_dictionaries(
    {},
    optional={
        "frame": SCALARS,
        "mask": SCALARS | st.fixed_dictionaries({}, optional={"size": st.just([H, W]) | SCALARS, "counts": SCALARS}),
        "instance": SCALARS,
        "score": SCALARS,
    },
)


@given(SCALARS | st.lists(ENTRIES, max_size=3))
@settings(max_examples=80, deadline=None)
def test_any_json_ends_in_seeds_or_in_a_sentence(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_text(json.dumps({"v": {"0": content}}))
    clip = clip_of(expressions=("0",))
    try:
        found = Seeds(path=str(file)).predict(clip)
    except InputError as error:
        assert all(str(file) in problem for problem in error.problems)
    else:
        check_prediction(found, clip, "seeds")


# ---------------------------------------------------------------------------------------------------------- bad seeds
def naive_iou(a, b):
    common = sum(bool(x and y) for x, y in zip(a.mask.flat, b.mask.flat, strict=True))
    either = sum(bool(x or y) for x, y in zip(a.mask.flat, b.mask.flat, strict=True))
    return common / either if either else 0.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 15), st.sampled_from([0.25, 0.5])), max_size=6))
def test_bad_seeds_are_the_definition(drawn):
    seeds = []
    for number, (frame, bits, score) in enumerate(drawn):
        mask = np.zeros((H, W), bool)
        mask[0, :4] = [bits >> i & 1 for i in range(4)]
        seeds.append(Seed(str(number), frame, mask, score))
    kept, bad = sort_out(Listing(seeds), 0.5, clip_of())
    # greedily, the best first: a seed stays if it overlaps none that stays
    order = sorted((s for s in seeds if s.mask.any()), key=lambda s: (-s.score, int(s.instance)))
    expected = []
    for s in order:
        if not any(s.frame == k.frame and naive_iou(s, k) > 0.5 for k in expected):
            expected.append(s)
    assert [s.instance for s in kept] == sorted(s.instance for s in expected)
    pairs = sum(a.frame == b.frame and naive_iou(a, b) > 0.5 for i, a in enumerate(seeds) for b in seeds[:i])
    assert len(bad) == sum(not s.mask.any() for s in seeds) + pairs


def test_a_dropped_expression_keeps_what_its_source_says():
    clip = clip_of(expressions=("0",))
    listing = Listing([Seed("a", 0, np.zeros((H, W), bool))], presence=0.75)
    (lost,) = seed_objects(clip, {"0": listing}, "s", 0.7, drop=True).values()
    assert lost.presence == 0.75 and lost.is_empty() and lost.notes["instance"] is None


# ---------------------------------------------------------------------------------------------------------- SAM3-agent
NAMES = ("left dog", "the dog (right)")
SAFE = ("left_dog", "the_dog_right")
MASKS = (block(1, 1), block(5, 12))


def pred(masks, item=None, scores=None):
    content = {"orig_img_h": H, "orig_img_w": W, "pred_boxes": [], "pred_masks": [counts(m) for m in masks]}
    return {
        **content,
        **({"pred_scores": scores} if scores else {}),
        **({"source_result_item": item} if item else {}),
        "input_prompt": "the brown dog",
    }


def item(name, best, file_name=None):
    about = {"object_name": name, "best_frame": best, "discriminative_description": "the brown dog"}
    return about | ({"actual_frame_filename": file_name, "actual_frame_index": best} if file_name else {})


@pytest.fixture
def agent(tmp_path):
    """Expression 0 refers to two dogs, in frames 2 and 4, expression 1 to nothing."""
    root = tmp_path / "agent_output" / "sam3_agent" / "gemini"
    items = [item(NAMES[0], 2, "00010.jpg"), item(NAMES[1], 4, "00020.jpg")]
    for number, (name, mask) in enumerate(zip(SAFE, MASKS, strict=True), 1):
        folder = root / "v" / "0" / f"{name}_obj_{number}"
        folder.mkdir(parents=True)
        halves = [mask & (np.arange(W) < 14), mask & (np.arange(W) >= 14)]
        put(folder / "pred.json", pred([m for m in halves if m.any()], items[number - 1]))
    (root / "v" / "0" / "summary.json").write_text("{}")
    answers = tmp_path / "outputs" / "batch_ark_video_qa"
    for expression, results in (("0", items), ("1", [])):
        about = {"video_id": "v", "target_event": "dogs", "expression_id": expression, "vid_id": 3}
        put(answers / "v" / f"{expression}.json", {**about, "results": results})
    put(answers / "run_summary.json", {})
    return SimpleNamespace(root=root, answers=answers, items=items)


def put(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


def read(agent, clip=None, **options):
    options = {"path": str(agent.root), "answers": str(agent.answers), **options}
    return Seeds(**options).predict(clip or clip_of())


def test_the_tree_of_sam3_agent(agent):
    found = read(agent)
    assert list(found) == ["0/left_dog_obj_1", "0/the_dog_right_obj_2", "1/"]
    for s, mask, key in zip(found.values(), MASKS, (2, 4), strict=False):
        assert s.notes["key_frame"] == key and s.presence == 1
        assert np.array_equal(s.mask(key), mask) and s.scores[key] == 1
        assert sum(s.mask(t).any() for t in range(T)) == 1
    assert found["1/"].presence == 0 and found["1/"].is_empty()


@pytest.mark.parametrize("path", ["gemini", "sam3_agent", "agent_output"])
def test_the_tree_is_found_below_its_folders_and_in_a_zip(agent, path, tmp_path):
    folder = next(p for p in (agent.root, *agent.root.parents) if p.name == path)
    expected = {name: s.masks.bits.tobytes() for name, s in read(agent).items()}
    assert {name: s.masks.bits.tobytes() for name, s in read(agent, path=str(folder)).items()} == expected
    for root in (folder, agent.answers):
        shutil.make_archive(str(tmp_path / root.name), "zip", root)
    zipped = read(agent, path=f"{tmp_path / path}.zip", answers=str(tmp_path / "batch_ark_video_qa.zip"))
    assert {name: s.masks.bits.tobytes() for name, s in zipped.items()} == expected


@pytest.mark.parametrize("source", ["pred.json", "input_meta.json", "answers", "best_frame"])
def test_the_frame_is_found_wherever_it_is_stated(agent, source):
    folder = agent.root / "v" / "0" / f"{SAFE[0]}_obj_1"
    put(folder / "pred.json", pred(MASKS[:1], agent.items[0] if source == "pred.json" else None))
    if source == "input_meta.json":
        put(folder / "input_meta.json", {"frame_filename": "00010.jpg", "object_index": 1})
    if source == "best_frame":
        put(agent.answers / "v" / "0.json", [item(NAMES[0], 2), agent.items[1]])
        assert "set `stride`" in failure(read, agent)
        assert read(agent, stride=2)["0/left_dog_obj_1"].notes["key_frame"] == 4
        assert "is in frame 6" in failure(lambda: read(agent, stride=3))
    found = read(agent, stride="auto")
    assert found["0/left_dog_obj_1"].notes["key_frame"] == 2


def test_the_stride_of_the_winner(agent):
    """run_ark_video_qa.py shows every second frame of a video of more than 70 frames."""
    folder = agent.root / "v" / "0"
    put(folder / f"{SAFE[0]}_obj_1" / "pred.json", pred(MASKS[:1]))
    put(agent.answers / "v" / "0.json", [item(NAMES[0], 2), agent.items[1]])
    for length, expected in ((70, 2), (71, 4)):
        found = read(agent, clip_of(length), stride="auto")
        assert found["0/left_dog_obj_1"].notes["key_frame"] == expected


def test_scores_are_the_mean_of_the_masks(agent):
    put(agent.root / "v" / "0" / f"{SAFE[0]}_obj_1" / "pred.json", pred(MASKS, agent.items[0], [0.5, 1.0]))
    s = read(agent)["0/left_dog_obj_1"]
    assert s.scores[2] == 0.75 and np.array_equal(s.mask(2), MASKS[0] | MASKS[1])


def test_without_answers_every_expression_needs_a_seed(agent):
    found = read(agent, clip_of(expressions=("0",)), answers=None)
    assert list(found) == ["0/left_dog_obj_1", "0/the_dog_right_obj_2"]
    message = failure(lambda: read(agent, answers=None))
    assert "expression '1'" in message and "set `answers`" in message


def test_missing_seeds_are_bad(agent):
    shutil.rmtree(agent.root / "v" / "0" / f"{SAFE[0]}_obj_1")
    (agent.root / "v" / "0" / f"{SAFE[1]}_obj_2" / "pred.json").unlink()
    put(agent.answers / "v" / "1.json", [item("a cat", 0, "00000.jpg")])
    message = failure(read, agent)
    assert "instance 1 of the answer, 'left dog', has 0 folders, expected left_dog_obj_1" in message
    assert "the_dog_right_obj_2/pred.json does not exist" in message
    assert "instance 1 of the answer, 'a cat'" in message
    found = read(agent, bad="drop")
    assert list(found) == ["0/", "1/"] and all(s.presence == 1 and s.is_empty() for s in found.values())


def test_a_pred_json_without_masks_is_an_empty_seed(agent):
    put(agent.root / "v" / "0" / f"{SAFE[0]}_obj_1" / "pred.json", pred([], agent.items[0]))
    put(agent.root / "v" / "0" / f"{SAFE[1]}_obj_2" / "pred.json", pred([], agent.items[1]) | {"pred_masks": [""]})
    assert failure(read, agent).count("is empty") == 2


def test_a_stale_seed_of_a_changed_answer_is_not_read(agent):
    """The object was renamed when the question was asked again."""
    put(agent.answers / "v" / "0.json", [item("big dog", 1, "00005.jpg"), agent.items[1]])
    put(agent.root / "v" / "0" / "big_dog_obj_1" / "pred.json", pred([block(7, 2)], item("big dog", 1, "00005.jpg")))
    assert list(read(agent)) == ["0/big_dog_obj_1", "0/the_dog_right_obj_2", "1/"]


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"orig_img_h": 12, "orig_img_w": 20, "pred_ma', "not a json file"),
        ("I could not find the dog.", "not a json file"),
        ("[]", "expected {"),
        ({**pred(MASKS[:1]), "orig_img_h": 24}, "an image of [24, 20], expected the clip's [12, 20]"),
        ({**pred(MASKS[:1]), "pred_masks": None}, "`pred_masks` is None"),
        ({**pred(MASKS[:1]), "pred_masks": [rle(MASKS[0])]}, "`pred_masks` is [{"),
        ({**pred(MASKS[:1]), "pred_masks": ["~~~"]}, "damaged"),
        ({**pred(MASKS[:1]), "pred_scores": [0.5, 0.5]}, "expected 1 numbers"),
        ({**pred(MASKS[:1]), "pred_scores": [float("nan")]}, "expected 1 numbers"),
    ],
)
def test_a_wrong_pred_json_is_an_error_even_if_bad_seeds_are_dropped(agent, content, message):
    put(agent.root / "v" / "0" / f"{SAFE[0]}_obj_1" / "pred.json", content)
    text = failure(lambda: read(agent, bad="drop"))
    assert message in text and "left_dog_obj_1/pred.json" in text


def test_other_folders_say_what_they_are(agent, tmp_path):
    assert "a folder of answers, not of seeds" in failure(lambda: read(agent, path=str(agent.answers), answers=None))
    put(tmp_path / "png" / "v" / "0" / "00000.png", "")
    message = failure(lambda: read(agent, path=str(tmp_path / "png"), answers=None))
    assert "PNG masks, not seeds" in message and "the step `seeds`" in message
    (tmp_path / "empty").mkdir()
    message = failure(lambda: read(agent, path=str(tmp_path / "empty"), answers=None))
    assert "no v/EXPRESSION/NAME_obj_1/pred.json" in message
    assert "expected a folder or .zip of answers" in failure(lambda: read(agent, answers=str(tmp_path / "x.json")))


def test_a_verdict_names_no_instances(agent):
    put(agent.answers / "v" / "0.json", {"is_match": True, "reason": "yes"})
    assert "its answer is a verdict, expected a list of instances" in failure(read, agent)
    (agent.answers / "v" / "0.json").unlink()
    assert "has no answer v/0.json" in failure(read, agent)


def test_the_fingerprint_changes_with_every_file(agent):
    adapter, clip = Seeds(path=str(agent.root), answers=str(agent.answers)), clip_of()
    seen = Counter([adapter.fingerprint(clip)])
    for file in (
        agent.root / "v" / "0" / f"{SAFE[0]}_obj_1" / "pred.json",
        agent.root / "v" / "0" / f"{SAFE[0]}_obj_1" / "input_meta.json",
        agent.root / "v" / "1" / "x_obj_1" / "pred.json",
        agent.answers / "v" / "1.json",
    ):
        put(file, {"changed": str(file)})
        seen.update([adapter.fingerprint(clip)])
    put(agent.root / "v" / "0" / "summary.json", {"changed": 1})
    assert len(seen) == 5 and seen[adapter.fingerprint(clip)] == 1, "the summary is not read"


def test_a_damaged_zip_is_named(tmp_path):
    file = tmp_path / "x.zip"
    file.write_bytes(b"PK\x03\x04 no zip")
    assert "cannot be read as a zip" in failure(Seeds(path=str(file)).predict, clip_of())
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("v/0/a_obj_1/pred.json", "{")
    assert "not a json file" in failure(Seeds(path=str(file)).predict, clip_of(expressions=("0",)))
