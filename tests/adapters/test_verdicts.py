"""Verdict files of jurors: formats, polarity, missing verdicts, and everything that can be wrong with them."""

import csv
import io
import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.files.verdicts.values import NAMES, NEUTRAL
from rvos_ensemble.adapters.files.verdicts.verdicts import Verdicts


def clip_of(name, *ids):
    images = SimpleNamespace(size=(4, 4))
    return Clip(name, ("0",), tuple(Expression(name, i, f"expression {i}") for i in ids), images)


A, B = clip_of("a", "0", "1"), clip_of("b", "0", "1")


def written(tmp_path, content, name="juror.json"):
    file = tmp_path / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(file)


def problems(file, *clips, **settings):
    found = Verdicts(file, **settings).problems(clips or (A,))
    return list(dict.fromkeys(p for lines in found.values() for p in lines))


@pytest.mark.parametrize(
    "value, presence",
    [
        (0.25, 0.25),
        (1, 1.0),
        (True, 1.0),
        (False, 0.0),
        ("yes", 1.0),
        (" No. ", 0.0),
        ("True", 1.0),
        ("0.75", 0.75),
        ({"is_match": False, "reason": "there is no dog; yes, really"}, 0.0),
        ({"reason": "a dog", "probability": 0.5}, 0.5),
        ([], 0.0),
        ([{"object_name": "dog", "best_frame": 3}], 1.0),
    ],
)
def test_json_values(tmp_path, value, presence):
    nested = written(tmp_path, {"a": {"0": value, "1": "no"}, "not in the data set": {"7": "yes"}})
    assert Verdicts(nested).presences(A) == {"0": presence, "1": 0.0}
    flipped = Verdicts(nested, states="absence")
    if not isinstance(value, dict) or "is_match" not in value:
        says_itself = isinstance(value, list)
        assert flipped.presences(A) == {"0": presence if says_itself else 1 - presence, "1": 1.0}
    assert problems(nested) == []


def test_records_and_csv_with_their_names(tmp_path):
    records = [{"video_id": "a", "exp_id": 0, "results": []}, {"video_id": "a", "exp_id": 1, "results": [{}]}]
    assert Verdicts(written(tmp_path, records)).presences(A) == {"0": 0.0, "1": 1.0}
    text = '\ufeffvideo, expression ,answer,reason\na,0,Yes,"a ""dog"", big"\n\na,1,0.125,\n'
    file = written(tmp_path, text, "juror.txt")
    assert Verdicts(file).presences(A) == {"0": 1.0, "1": 0.125}
    assert Verdicts(file, states="absence").presences(A) == {"0": 0.0, "1": 0.875}


@pytest.mark.parametrize("name", [*NEUTRAL, *NAMES["presence"], *NAMES["absence"]])
def test_names_that_contradict_the_polarity_are_refused(tmp_path, name):
    file = written(tmp_path, f"video,expression,{name}\na,0,1\na,1,0\n", "juror.csv")
    states = "absence" if name in NAMES["absence"] else "presence"
    assert Verdicts(file, states=states).presences(A) == {"0": float(states == "presence"), "1": states != "presence"}
    if name not in NEUTRAL:
        other = "presence" if states == "absence" else "absence"
        (problem, *_) = problems(file, states=other)
        assert f"`{name}` states {states}" in problem and f"`states: {other}`" in problem


def test_present_and_absent_mean_what_they_say_and_another_name_can_be_given(tmp_path):
    file = written(tmp_path, "video,expression,probability,opinion\na,0,0.5,present\na,1,0.5,absent\n", "juror.csv")
    for states in ("presence", "absence"):
        assert Verdicts(file, states=states, value="opinion").presences(A) == {"0": 1.0, "1": 0.0}
    both = written(tmp_path, {"a": {"0": {"is_match": True, "probability": 0.9}, "1": True}})
    (problem,) = problems(both)
    assert "is_match, probability" in problem and "`value`" in problem
    assert Verdicts(both, value="probability").presences(A) == {"0": 0.9, "1": 1.0}


def test_everything_wrong_is_reported_together(tmp_path):
    lines = ["video,expression,p", "a,0,The dog is clearly visible.", "a,1,95", "a,1,0.5", "a,9,nan", "b,0,-0.1"]
    file = written(tmp_path, "\n".join(lines), "juror.csv")
    found = problems(file, A, B)
    expected = [
        ("line 2", "'The dog is clearly visible.' is prose"),
        ("line 3", "95.0, expected a probability in 0..1"),
        ("line 4", "a second verdict, after that of " + file + ", line 3"),
        ("line 5", "nan, expected"),
        ("video 'a'", "expression '9', which is not in the data set (it has 0, 1)"),
        ("line 6", "-0.1, expected"),
        ("no verdict on 1 of 4 expressions of a, b: b/1", "missing: unknown"),
    ]
    assert len(found) == len(expected)
    for parts in expected:
        assert any(all(part in line for part in parts) for line in found), (parts, found)
    assert not any("expression '9', which" in p for p in problems(file, A, B, extra="ignore"))
    with pytest.raises(InputError):
        Verdicts(file).presences(A)


def test_a_juror_who_covers_half(tmp_path):
    file = written(tmp_path, {"a": {"0": 0.25}, "b": {"0": None, "1": "yes"}})
    (line,) = problems(file, A, B)
    assert "no verdict on 2 of 4 expressions of a, b: a/1, b/0" in line and "`missing: unknown`" in line
    assert set(Verdicts(file).problems((A, B))) == {"a", "b"}, "every clip that lacks a verdict has the problem"
    unknown = Verdicts(file, missing="unknown")
    assert unknown.problems((A, B)) == {} and unknown.presences(A) == {"0": 0.25, "1": None}
    assert unknown.presences(B) == {"0": None, "1": 1.0}


def test_a_juror_of_other_videos_is_never_silent(tmp_path):
    file = written(tmp_path, {"a.mp4": {"0": 1, "1": 0}})
    for missing in ("error", "unknown"):
        (line,) = problems(file, A, B, missing=missing)
        assert "no verdict on 4 of 4" in line and "the file has the videos a.mp4" in line and "remove the juror" in line


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "expected a header that names one of (video,"),
        ("The dog is in the video, I think.", "'The dog is in the video, I think.'"),
        ("The dog is in the video, I think.", "not json either"),
        ("video,expression\na,0\n", "one of (probability"),
        ("video,expression,p\na,0\n", "line 2: 2 values, expected 3"),
        ("video,expression,p,is_match\na,0,1,1\n", "values p, is_match"),
        ('video,expression,p\n"a,0,1\n', "not csv"),
        ("[1]", "record 1: 1, expected an object"),
        ('[{"video": "a", "p": 1}]', "expression is None"),
        ('{"a": true}', "video 'a' has True"),
        ('{"a": {"0": 1}, "a": {}}', "'a' twice"),
        ("{prose}", "not a json file"),
        ('{"a": {"0": {"reason": "x"}, "1": 0}}', "expected one of probability"),
        ('{"a": {"0": {"p": {"p": 1}}, "1": 0}}', "{'p': 1}"),
    ],
)
def test_other_files_say_what_they_are(tmp_path, content, message):
    file = written(tmp_path, content)
    found = "\n".join(problems(file))
    assert message in found and file in found


def test_bytes_that_are_no_text(tmp_path):
    file = tmp_path / "juror.csv"
    for data in (b"\xff\xfe\x00", b"[\xff]", b"video,expression,p\na,0,\x00\n"):
        file.write_bytes(data)
        assert problems(str(file))
    assert "cannot be read" in problems(str(tmp_path / "none.csv"))[0]


@given(st.dictionaries(st.sampled_from(["0", "1"]), st.floats(0, 1) | st.booleans(), min_size=1))
def test_all_formats_agree(tmp_path_factory, verdicts):
    folder = tmp_path_factory.mktemp("verdicts")
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["video", "expression", "presence"])
    writer.writerows(["a", e, v] for e, v in verdicts.items())
    files = [
        written(folder, {"a": verdicts}, "a.json"),
        written(folder, [{"video": "a", "expression": e, "presence": v} for e, v in verdicts.items()], "b.json"),
        written(folder, table.getvalue(), "c.csv"),
    ]
    expected = {e: float(verdicts[e]) if e in verdicts else None for e in ("0", "1")}
    for file in files:
        assert Verdicts(file, missing="unknown").presences(A) == expected
    assert len({Verdicts(file).fingerprint(A) for file in files}) == 1


def test_the_fingerprint_of_a_clip_changes_with_its_verdicts_alone(tmp_path):
    prints = []
    for i, content in enumerate(({"a": {"0": 1}}, {"a": {"0": 1}, "b": {"0": 0.5}}, {"a": {"0": 0.5}})):
        prints.append(Verdicts(written(tmp_path, content, f"{i}.json")).fingerprint(A))
    assert prints[0] == prints[1] != prints[2]
