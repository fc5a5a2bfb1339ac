"""Files that name a source for each expression: every form, and everything that such a file may hold instead."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.csv_text import parse_csv
from rvos_ensemble.adapters.files.verdicts.choices import SHOWN, read_choices

WANTED = {("v1", "0"): "soc", ("v1", "1"): "mutr", ("v2", "0"): "soc", ("v2", "7"): "soc", ("v3", "0"): None}


@pytest.mark.parametrize(
    "text",
    [
        '{"v1": {"0": "soc", "1": "mutr"}, "v2": "soc"}',
        '\ufeff\n {"v1": {"0": " soc ", "1": "mutr"}, "v2": "soc"}',
        "video,expression,source\nv1,0,soc\nv1,1,mutr\nv2,0,soc\nv2,7,soc\n",
        "source;reason;expression;video\r\nsoc;the dog barks;0;v1\r\n\r\nmutr;;1;v1\r\nsoc;;0;v2\r\nsoc;;7;v2\r\n",
        '"video_id","exp_id","source"\n"v1","0","soc"\n"v1","1","mutr"\n"v2","0","soc"\n"v2","7","soc"\n',
        'video\texpression\tsource\nv1\t"0"\tsoc\nv1\t1\tmutr\nv2\t0\tsoc\nv2\t7\tsoc',
    ],
)
def test_every_form_means_the_same(tmp_path, text):
    file = tmp_path / "choices"
    file.write_text(text, encoding="utf-8")
    choices = read_choices(str(file))
    assert {key: choices.of(*key) for key in WANTED} == WANTED
    assert choices.names() == ["soc", "mutr"]


def test_a_source_for_each_video_as_csv(tmp_path):
    file = tmp_path / "choices.csv"
    file.write_text("video,source\nv1,soc\nv2,mutr\n")
    choices = read_choices(str(file))
    assert [choices.of(v, e) for v, e in (("v1", "0"), ("v1", "9"), ("v2", "0"), ("v3", "0"))] == [
        "soc",
        "soc",
        "mutr",
        None,
    ]


def test_a_changed_file_is_read_again(tmp_path):
    file = tmp_path / "choices.json"
    file.write_text('{"v": "soc"}')
    assert read_choices(str(file)).of("v", "0") == "soc"
    file.write_text('{"v": "mutr"}')
    assert read_choices(str(file)).of("v", "0") == "mutr"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["empty", "expected"]),
        (b"The best mask is that of Sa2VA, because the dog ...", ["line 1", "source", "as JSON, or CSV"]),
        (b'```json\n{"v1": "soc"}\n```', ["line 1", "as JSON, or CSV"]),
        (b'[{"video": "v1"}]', ["a JSON list", "as JSON, or CSV"]),
        (b'{"v1": ', ["not a json file"]),
        (b'{"v1": {"0": "a", "0": "b"}}', ["twice"]),
        (b'{"v1": {"0": 3, "1": null, "2": ["soc"]}}', ["'0': 3", "'1': None", "'2': ['soc']", "name of a source"]),
        (b'{"v1": {"0": {"source": "soc"}}}', ["expected the name of a source"]),
        (b'{"v1": ""}', ["name of a source"]),
        (b"\x80\x81", ["not UTF-8"]),
        (b"video,expression,source\nv1,0,soc,x\nv2,0\n", ["line 2: 4 values", "line 3: 2 values", "expected 3"]),
        (b"video,expression,source\nv1,0,soc\nv1,0,mutr\n", ["line 3", "a second choice", "'mutr'"]),
        (b"video,video,source\nv1,0,soc\n", ["'video'", "twice"]),
        (b'video,source\nv1,"soc\n', ["not csv"]),
        (b"video,expression,source\nv1,,soc\n", ["line 2", "no video or expression"]),
        (b"video,source\nv1,\n", ["line 2", "name of a source"]),
        (b"video,source\nv1," + b"x" * 200_000, ["not csv", "field"]),
        (b"[" * 100_000, ["nested"]),
    ],
)
def test_what_else_a_file_may_hold(tmp_path, content, parts):
    file = tmp_path / "choices.txt"
    file.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_choices(str(file))
    for part in [str(file), *parts]:
        assert part in str(error.value)


def test_a_file_of_many_mistakes_gives_a_short_message(tmp_path):
    file = tmp_path / "choices.json"
    file.write_text(json.dumps({f"v{i}": i for i in range(1000)}))
    with pytest.raises(InputError) as error:
        read_choices(str(file))
    assert len(error.value.problems) == SHOWN + 1 and f"and {1000 - SHOWN} more" in error.value.problems[-1]


@settings(max_examples=200)
@given(st.sampled_from([b"", b"{", b'{"v": ', b"video,source\n", b"video;expression;source\n"]), st.binary(max_size=60))
def test_any_bytes_are_choices_or_an_input_error(tmp_path_factory, start, rest):
    file = tmp_path_factory.getbasetemp() / "any_choices"
    file.write_bytes(start + rest)
    try:
        choices = read_choices(str(file))
    except InputError as error:
        assert all(str(file) in problem for problem in error.problems)
    else:
        assert all(name and isinstance(name, str) for name in choices.names())


def test_a_folder_or_nothing_is_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(InputError, match=str(path)):
            read_choices(str(path))


def test_the_line_of_a_row_counts_lines_within_quotes():
    rows = parse_csv('video,source\n"a\nb",soc\nc,mutr\n', "f", ["video"])
    assert [(row.line, row.values["video"]) for row in rows] == [(3, "a\nb"), (4, "c")]
