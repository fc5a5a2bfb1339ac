"""A large JSON file whose values are parsed when they are read, against the parser that reads the whole file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvos_ensemble.adapters import InputError
from rvos_ensemble.adapters.core.io import json_object
from rvos_ensemble.adapters.core.io.hashing import file_stamp
from rvos_ensemble.adapters.core.io.json_object import JsonObject
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.files.readers import coco_rle

TEXTS = st.text(st.sampled_from('ab"\\{}[],: é\n\U0001f600'), max_size=8)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
OBJECTS = st.builds(
    json.dumps,
    st.dictionaries(TEXTS, VALUES, max_size=5),
    ensure_ascii=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
PIECES = [*'"\\{}[],: 1a\né', "null", '\\"', "\\\\", '"a":', '"b":{"c":[]}']
BROKEN = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: "{" + "".join(pieces) + "}"),
    st.tuples(OBJECTS, st.integers(0, 200), st.sampled_from(PIECES), st.integers(0, 1)).map(
        lambda made: made[0][: made[1]] + made[2] + made[0][made[1] + made[3] :]
    ),
)


def open_object(path: Path, text: str | bytes) -> JsonObject:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return JsonObject(file_stamp(path))


def content_or_error(read):
    try:
        content = read()
        return content if isinstance(content, dict) else "error"
    except InputError as error:
        assert str(error)
        return "error"


@settings(max_examples=300)
@given(st.one_of(OBJECTS, BROKEN), st.sampled_from([50, 61, 1 << 18]))
def test_same_values_and_same_refusals_as_the_parser(tmp_path_factory, text, block):
    path = tmp_path_factory.getbasetemp() / "object.json"
    path.write_bytes(text.encode())
    before, json_object.BLOCK = json_object.BLOCK, block
    try:
        found = content_or_error(lambda: dict(JsonObject(file_stamp(path))))
    finally:
        json_object.BLOCK = before
    assert found == content_or_error(lambda: read_json(path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[]", "byte 0: expected an object"),
        (b"The video shows a bear.", "byte 0: expected an object"),
        (b"", "byte 0: expected an object"),
        (b'{"a": 1', "byte 7: expected a comma and a key, or a closing brace"),
        (b'{"a": {"b": [1, 2]', "byte 6: expected a value that ends"),
        (b'{"a": 1, }', "byte 7: expected a comma and a key"),
        (b'{"a": 1} x', "byte 8: expected nothing after the object"),
        (b"{a: 1}", "byte 1: expected a key and a colon"),
        (b'{"a": 1, "b": {}, "\\u0061": 2}', "one object has the key 'a' twice"),
        (b'{"\xff": 1}', "not UTF-8"),
        (b'{"\\ud800": 1}', "half a character"),
        (b'{"' + b"a" * (1 << 17) + b'": 1}', "byte 1: expected a key and a colon"),
        (b'{"' + b"\\" * (1 << 19) + b'": 1}', "byte 2: expected fewer than 262,144 backslashes in a row"),
        (b'{"a": ' + b'"\\' * (1 << 18), "byte 6: expected a value"),
        (b'{"a": "\\', "byte 6: expected a value that ends"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_what_is_no_object_is_refused_when_it_is_opened(tmp_path, text, words):
    with pytest.raises(InputError) as error:
        open_object(tmp_path / "x.json", text)
    assert str(error.value).startswith(f"{tmp_path / 'x.json'}: ") and words in str(error.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b'{"b": 1, "b": 2}', "'a': one object has the key 'b' twice"),
        (b'["\\ud800"]', "'a': 0: half a character"),
        (b'["\xff"]', "'a': not UTF-8"),
        (b"[" * 300 + b"]" * 300, "more than 64 deep"),
        (b"[1 2]", "'a': not a json file"),
        (b"nul", "'a': not a json file"),
        (b"[}", "'a': not a json file"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_a_value_is_read_as_strictly_as_a_file(tmp_path, value, words):
    opened = open_object(tmp_path / "x.json", b'{"a": ' + value + b', "c": [1]}')
    assert opened["c"] == [1] and list(opened) == ["a", "c"]
    with pytest.raises(InputError, match=r"x\.json") as error:
        opened["a"]
    assert words in str(error.value)


def test_entries(tmp_path):
    opened = open_object(tmp_path / "x.json", b'\xef\xbb\xbf {"a" : [1, "]"] , "b":{}\n,"c": 2 }\n')
    assert dict(opened) == {"a": [1, "]"], "b": {}, "c": 2} and len(opened) == 3 and "d" not in opened
    assert opened.get("d") is None and opened["a"] is opened["a"]
    with pytest.raises(KeyError):
        opened["d"]


def test_a_file_that_changes_is_not_mixed_with_its_old_index(tmp_path):
    opened = open_object(tmp_path / "x.json", '{"a": [1], "b": [22]}')
    (tmp_path / "x.json").write_text('{"b": [22], "a": [111]}')
    with pytest.raises(InputError, match=r"x\.json: was changed while it was read"):
        opened["a"]


def test_too_many_entries(tmp_path, monkeypatch):
    monkeypatch.setattr(json_object, "MOST_ENTRIES", 10)
    for value in ("1", "[]"):
        with pytest.raises(InputError, match="more than 10 entries"):
            open_object(tmp_path / "x.json", json.dumps({str(i): json.loads(value) for i in range(11)}))


MEASURE = """
import resource, sys
from rvos_ensemble.adapters.core.io.hashing import file_stamp
from rvos_ensemble.adapters.files.scores import load_json
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
before = peak()
videos = load_json(file_stamp(sys.argv[1]))
assert sum(len(videos[name]["0"]) for name in videos) == int(sys.argv[2])
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_file(tmp_path):
    """Sixty megabytes are read video by video in a tenth of their size."""
    mask = np.random.default_rng(0).random((200, 300)) > 0.5
    rles = json.dumps({"0": coco_rle.encode([mask]) * 20})
    videos = 60_000_000 // len(rles)
    path = tmp_path / "large.json"
    with open(path, "w") as file:
        file.write("{" + ",".join(f'"{v}": {rles}' for v in range(videos)) + "}")
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), str(20 * videos)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert not run.returncode, run.stderr
    assert int(run.stdout) < path.stat().st_size / 5
