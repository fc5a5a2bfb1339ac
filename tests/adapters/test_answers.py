"""Answers of language models: instances, verdicts, fences, prose and half-written files."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.files.verdicts.answers import Answer, Instance, parse_answer
from rvos_ensemble.adapters.files.verdicts.verdicts import Verdicts

DOG = {"object_name": "left dog", "best_frame": 3, "discriminative_description": "the brown dog"}
INSTANCES = (Instance("left dog", 3, None),)


def parse(content, **ids):
    text = content if isinstance(content, str) else json.dumps(content)
    return parse_answer(text.encode(), "v/0.json", **ids)


def failure(content, **ids) -> str:
    with pytest.raises(InputError) as error:
        parse(content, **ids)
    return "\n".join(error.value.problems)


@pytest.mark.parametrize(
    "content, expected",
    [
        ([], Answer(False, ())),
        ([DOG], Answer(True, INSTANCES)),
        ({"video_id": "v", "expression_id": 0, "target_event": "dogs", "results": [DOG]}, Answer(True, INSTANCES)),
        ({"results": []}, Answer(False, ())),
        ({"is_match": True, "reason": "it walks"}, Answer(True)),
        ({"is_match": False, "reason": "[]"}, Answer(False)),
        (
            [{**DOG, "actual_frame_filename": "00015.jpg", "actual_frame_index": 3}],
            Answer(True, (Instance("left dog", 3, "00015.jpg"),)),
        ),
        ([{"object_name": ""}], Answer(True, (Instance("object_1", None, None),))),
    ],
)
def test_answers(content, expected):
    assert parse(content, video="v", expression="0") == expected
    text = json.dumps(content, indent=2)
    for fenced in (f"```json\n{text}\n```", f"\n```\n{text}\n```\n", f"```JSON\r\n{text}\r\n```"):
        assert parse(fenced) == expected


@pytest.mark.parametrize(
    "text, message",
    [
        ("The dogs walk to the left in frame 3.", "text instead of json: 'The dogs walk"),
        ("Sure! []", "text instead of json: 'Sure! []'"),
        ("Here it is:\n```json\n[]\n```", "text instead of json"),
        ("```json\n[]\n```\nThe video shows no dog.", "text instead of json"),
        ("```json\n[]\n```\n```json\n[]\n```", "text instead of json"),
        ("```json\n[", "text instead of json"),
        ("```json\nno target\n```", "no json inside the fence"),
        ("", "an empty file"),
        (" \n", "an empty file"),
        ('[{"object_name": "left dog", "best_fr', "not a json file"),
        ("[] no dog", "not a json file"),
        ('{"is_match": "yes"}', "expected json"),
        ('{"is_match": null, "reason": ""}', "expected json"),
        ('{"raw_response_text": "[]"}', "expected json"),
        ('{"results": {"0": []}}', "expected json"),
        ('["left dog"]', "instance 0 is 'left dog'"),
        ('[{"best_frame": 3}]', "instance 0 is {'best_frame': 3}"),
        ('[{"object_name": "a", "best_frame": "3s"}]', "`best_frame` is '3s'"),
        ('[{"object_name": "a", "best_frame": true}]', "`best_frame` is True"),
        ('[{"object_name": "a", "best_frame": -1}]', "`best_frame` is -1"),
        ('[{"object_name": "a", "actual_frame_filename": 3}]', "`actual_frame_filename` is 3"),
    ],
)
def test_anything_else_is_refused(text, message):
    found = failure(text)
    assert message in found and "v/0.json" in found


def test_an_answer_about_another_expression_is_refused():
    content = {"video_id": "w", "expression_id": "7", "results": []}
    found = failure(content, video="v", expression="0")
    assert "`video_id` is 'w', expected 'v'" in found and "`expression_id` is '7', expected '0'" in found
    assert parse(content) == Answer(False, ())
    assert "`json_id` is '7'" in failure({"json_id": "7", "is_match": True}, expression="0")


def test_not_utf8_is_named():
    with pytest.raises(InputError, match="not UTF-8"):
        parse_answer(b"[\xff]", "v/0.json")


@given(st.text(max_size=40) | st.lists(st.sampled_from(["[", "{", "]", "```json\n", "\n```", "[]", "a"])).map("".join))
def test_any_text_is_an_answer_or_a_sentence(text):
    """An answer only where the whole text is json; nothing is searched for inside a text."""
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    try:
        answer = parse_answer(text.encode("utf-8", "surrogatepass"), "v/0.json")
    except InputError:
        assert content != []
    else:
        assert answer.present == bool(content)


# ----------------------------------------------------------------------------------------- a folder of answers as juror
CLIP = Clip("v", ("0", "1"), tuple(Expression("v", i, "") for i in ("0", "1", "2")), SimpleNamespace(size=(2, 2)))


@pytest.fixture
def folder(tmp_path):
    def folder(answers):
        for name, content in answers.items():
            file = tmp_path / "answers" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(tmp_path / "answers")

    return folder


def test_a_folder_of_answers_is_a_juror(folder):
    answers = {"v/0.json": [], "v/1.json": {"expression_id": "1", "results": [DOG]}, "v/2.json": "```json\n[]\n```"}
    path = folder({**answers, "w/0.json": [DOG], "run_summary.json": {}, "_errors/v__0.json": "x"})
    juror = Verdicts(path)
    assert juror.presences(CLIP) == {"0": 0.0, "1": 1.0, "2": 0.0} and juror.problems([CLIP]) == {}
    before = juror.fingerprint(CLIP)
    folder({"v/2.json": {"is_match": True, "reason": "it walks"}})
    assert juror.presences(CLIP)["2"] == 1.0 and juror.fingerprint(CLIP) != before


def test_wrong_and_missing_answers_are_reported_together(folder):
    juror = Verdicts(folder({"v/0.json": "There is no dog.", "v/1.json": [], "v/9.json": []}))
    (problems,) = juror.problems([CLIP]).values()
    assert len(problems) == 3
    text = "\n".join(problems)
    assert "v/0.json: text instead of json" in text
    assert "a verdict on expression '9', which is not in the data set" in text
    assert "no verdict on 1 of 3 expressions of v: v/2" in text
    with pytest.raises(InputError, match="a folder of answers states presence"):
        Verdicts(juror.verdicts, states="absence").presences(CLIP)
    unknown = Verdicts(folder({"v/0.json": [DOG]}), missing="unknown", extra="ignore")
    assert unknown.presences(CLIP) == {"0": 1.0, "1": 0.0, "2": None}


def test_a_folder_without_the_video_says_nothing(folder):
    (problems,) = Verdicts(folder({"w/0.json": []}), missing="unknown").problems([CLIP]).values()
    assert "no verdict on 3 of 3 expressions" in problems[0]
