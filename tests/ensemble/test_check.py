"""What a run would refuse is reported before it: broken components of the user, counts, groups, key frames, scores."""

import itertools
import json
import shutil
import sys
import types
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from helpers.ops import OPS
from helpers.tiny import FRAMES, T

import run_ensemble
from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.component import Component, available, find, make
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.ensemble.engine import clips as engine_clips
from rvos_ensemble.ensemble.fusion.grouping import RULES, group_expressions, possible_sizes
from rvos_ensemble.ensemble.recipe import recipe
from rvos_ensemble.ensemble.recipe.components import KINDS, list_components, make_component
from rvos_ensemble.propagators.core.key_frame_settings import RULES as KEY_FRAMES

ADAPTER = KINDS["adapter"]


def problems_of(call, *arguments, **named):
    with pytest.raises(InputError) as caught:
        call(*arguments, **named)
    return caught.value.problems


# -------------------------------------------------------------------------------------------- components of the user
HEAD = "from rvos_ensemble.adapters import Adapter\n\n\n"
BROKEN = {
    "syntax": (HEAD + "class A(Adapter)\n    pass\n", "mine.py, line 4: SyntaxError: expected ':'"),
    "name": (HEAD + "class A(Adapter):\n    pass\n\n\nnothing_of_this_name\n", "mine.py, line 8: NameError: name"),
    "import": ("import no_such_package_at_all\n", "mine.py, line 1: ModuleNotFoundError: No module named"),
    "deep": (HEAD + "def f():\n    return {}['x']\n\n\nf()\n", "mine.py, line 5: KeyError: 'x'"),
    "exit": ("import sys\n\nsys.exit('usage: mine.py FILE')\n", "mine.py, line 3: SystemExit: usage"),
    "none": ("x = 1\n", "mine.py: expected one class that derives from Adapter, found none"),
    "two": (
        HEAD + "class A(Adapter):\n    pass\n\n\nclass B(Adapter):\n    pass\n",
        "mine.py: expected one class that derives from Adapter, found A, B",
    ),
    "list": (HEAD + "class A(Adapter):\n    defaults = ['x']\n", "class A: `defaults` is ['x'], expected {setting"),
    "keys": (HEAD + "class A(Adapter):\n    defaults = {1: 2}\n", "`defaults` has the key 1, expected names"),
    "value": (HEAD + "class A(Adapter):\n    defaults = {'x': object}\n", "default of setting `x` is <class 'object'>"),
    "latin": ((HEAD + "x = '\xe4'\n").encode("latin-1"), "mine.py, line 4: SyntaxError"),
    "zero": (b"x = 1\0\n", "mine.py"),
    "str": (
        "class E(Exception):\n    def __str__(self):\n        raise RuntimeError\n\n\nraise E\n",
        "mine.py, line 6: E",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_named_with_its_line(case, tmp_path, monkeypatch):
    content, words = BROKEN[case]
    path = tmp_path / "mine.py"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = dict(sys.modules)
    (problem,) = problems_of(find, str(path), *ADAPTER)
    assert problem.startswith(str(tmp_path)) and words in problem and "\n" not in problem
    assert sys.modules.get("mine") is before.get("mine")
    monkeypatch.chdir(tmp_path)
    (relative,) = problems_of(find, "mine.py", *ADAPTER)
    assert relative.replace(f"{tmp_path}/", "") == problem.replace(f"{tmp_path}/", "")


def test_a_component_that_is_a_folder_or_does_not_exist(tmp_path):
    (tmp_path / "dir.py").mkdir()
    assert problems_of(find, str(tmp_path / "dir.py"), *ADAPTER)[0].startswith(f"{tmp_path}/dir.py: a folder, expected")
    for name in ("none.py", "~no_such_user/none.py", "a\0b.py", "x" * 300 + ".py"):
        assert "no such file, named as adapter" in problems_of(find, name, *ADAPTER)[0]
    assert "no adapter is called" in problems_of(find, "x" * 300, *ADAPTER)[0]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("        super().__init__(**settings)\n        [][self.settings.k]\n", "line 9: IndexError: list index"),
        ("        open('/no/such/weights')\n", "line 8: FileNotFoundError: [Errno 2]"),
        ("        raise ValueError\n", "line 8: ValueError (its settings: {'k': 3})"),
    ],
)
def test_a_component_that_cannot_be_made_is_named_with_its_line(body, words, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(HEAD + "class A(Adapter):\n    defaults = {'k': 1}\n\n    def __init__(self, **settings):\n" + body)
    (problem,) = problems_of(make_component, "adapter", {"adapter": str(path), "k": 3}, "source a")
    assert problem.startswith(f"source a: {path}, line") and words in problem


def test_errors_of_this_package_are_not_blamed_on_the_user(monkeypatch):
    component = find("files", *ADAPTER)
    monkeypatch.setattr(component, "__init__", lambda self, **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make(component, {})


def test_plain_defaults_of_own_components_are_checked(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(HEAD + "class A(Adapter):\n    defaults = {'k': 'x', 'n': 3, 'f': 0.5, 'on': True, 'any': None}\n")
    kind = find(str(path), *ADAPTER)
    found = problems_of(kind, k=["y"], n="3", f=float("nan"), on=1, more=2)
    assert len(found) == 5 and all(any(f"`{k}`" in p for p in found) for k in ("k", "n", "f", "on", "more"))
    assert kind(k="", n=-1, f=2, on=False, any=[1]).settings.any == [1]


@pytest.fixture
def entry(monkeypatch):
    """Installs `mine` as the only entry point."""

    def install(value):
        point = EntryPoint("mine", value, ADAPTER[2])
        monkeypatch.setattr(
            "rvos_ensemble.adapters.core.component.entry_points", lambda group: [point] if group == ADAPTER[2] else []
        )

    return install


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no_such_package_at_all:A", "cannot be loaded: "),
        ("json:no_such_attribute", "cannot be loaded: "),
        ("json:dumps", "expected a class that derives from Adapter"),
        ("collections:OrderedDict", "expected a class that derives from Adapter"),
    ],
)
def test_a_broken_entry_point_is_reported_and_hides_nothing(value, words, entry, capsys):
    entry(value)
    (problem,) = problems_of(find, "mine", *ADAPTER)
    assert problem.startswith(f"entry point mine = {value}: ") and words in problem
    assert list_components("adapter")["mine"].startswith("cannot be used: entry point mine")
    assert "files" in available(*ADAPTER)
    assert run_ensemble.main(["list"]) == 0
    assert "mine" in capsys.readouterr().out


def test_an_entry_point_that_works(entry, monkeypatch):
    module = types.ModuleType("installed")
    module.A = type("A", (Adapter,), {"__module__": "installed", "__doc__": "One line.", "defaults": {"k": 1}})
    monkeypatch.setitem(sys.modules, "installed", module)
    entry("installed:A")
    assert make(find("mine", *ADAPTER), {"k": 2}).settings.k == 2 and list_components("adapter")["mine"] == "One line."


def test_names_with_a_meaning_in_python_are_ordinary_settings():
    class Own(Component):
        defaults = {"k": 1}

    for key in ("self", "settings", "cls"):
        assert "unknown key" in problems_of(make, Own, {key: 1})[0]
    for key in ("self", "name"):
        assert f"unknown key `{key}`" in problems_of(OPS["union"], "u", inputs=["a"], **{key: 1})[0]


# --------------------------------------------------------------------------------------------------- groups and counts
class Blank:
    size = (4, 6)

    def read(self, t):
        return np.zeros((4, 6, 3), np.uint8)


def clip_of(count, known=False, in_pairs=False, name="v"):
    expressions = [Expression(name, str(i), f"thing {i}", (str(i // 2),) if known else ()) for i in range(count)]
    return Clip(name, ("0", "1"), tuple(expressions), Blank(), in_pairs=in_pairs)


def masks_of(clip, seed):
    random = np.random.default_rng(seed)
    return {e.id: MaskSequence.binary(random.random((2, 4, 6)) < 0.4) for e in clip.expressions}


def refusal(step, clip, inputs):
    """The problems that a run reports."""
    try:
        step.run(clip, inputs)
    except InputError as error:
        return error.problems
    return []


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"file"}))
@pytest.mark.parametrize("leftover", ["vote", "first", 3, 0.5])
def test_a_count_above_the_votes_is_reported_where_a_run_refuses_it(rule, leftover):
    """It is reported in the words of the run, and never if the run would accept it."""
    for count, threshold, known, pairs in itertools.product(
        (1, 2, 3, 4), (1, 2, 3, 5, 9), (False, True), (False, True)
    ):
        if rule == "obj_id" and not known:
            continue
        clip = clip_of(count, known, pairs)
        settings = {"inputs": ["a", "b"], "threshold": threshold, "leftover": leftover, "weights": [2, 1]}
        step = OPS["vote"]("v", across="expressions", grouping={"rule": rule}, **settings)
        reported = step.problems(clip)
        refused = [refusal(step, clip, {n: masks_of(clip, 2 * seed + n.count("b")) for n in "ab"}) for seed in range(4)]
        same = {n: {e.id: masks_of(clip, 0)["0"] for e in clip.expressions} for n in "ab"}  # all of one object
        refused.append(refusal(step, clip, same))
        if reported:
            assert all(refused), (rule, count, threshold, reported)
            sentences = {f"step v: {p}" for p in reported}
            assert any(set(r) & sentences for r in refused)
        elif rule in ("pairs", "none", "obj_id") or (rule == "auto" and known):
            assert not any(refused), (rule, count, threshold, refused)
        elif count == 1:
            assert not any(refused)


def test_possible_sizes_contain_the_sizes_of_all_groups():
    for rule, count, pairs in itertools.product(("auto", "runs"), range(1, 6), (False, True)):
        clip = clip_of(count, in_pairs=pairs)
        possible = set().union(*possible_sizes(clip, rule))
        for seed in range(3):
            groups = group_expressions(clip, [masks_of(clip, seed)], rule)
            assert {len(g) for g in groups} <= possible


def test_votes_without_groups():
    step = OPS["vote"]("v", inputs=["a", "b"], threshold=3)
    (problem,) = step.problems(clip_of(2))
    assert f"step v: {problem}" == refusal(step, clip_of(2), {n: masks_of(clip_of(2), 1) for n in "ab"})[0]
    assert "threshold 3 of 2 votes" in problem and "write the threshold as a share" in problem


def test_more_votes_than_can_be_counted_are_refused():
    settings = {"inputs": ["a"] * 40, "weights": [1000] * 40, "threshold": 0.5}
    step = OPS["vote"]("v", across="expressions", grouping={"rule": "pairs"}, **settings)
    (problem,) = step.problems(clip_of(2))
    assert "80000 votes, at most 65535 can be counted" in problem
    assert OPS["vote"]("v", **settings).problems(clip_of(2)) == []
    assert (
        "at most 65535"
        in problems_of(OPS["vote"], "v", **{**settings, "inputs": ["a"] * 80, "weights": [1000] * 80})[0]
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"other": [["0"]]}, "no groups for clip 'v'"),
        ({"v": [["0"]]}, "groups ['0'], expected each of ['0', '1'] once"),
        ({"v": [["0", "1"], ["1"]]}, "once"),
        ({"v": {"0": "1"}}, "expected [[expression id"),
        ({"v": [["0", "1"], []]}, "expected [[expression id"),
        ({"v": ["01"]}, "expected [[expression id"),
        ({"v": [[["0"]], ["1"]]}, "expected [[expression id"),
        ({"v": None}, "expected [[expression id"),
        ({"v": [[0, True]]}, "expected [[expression id"),
    ],
)
def test_a_grouping_file_that_does_not_fit_is_reported(content, words, tmp_path):
    file = tmp_path / "groups.json"
    file.write_text(json.dumps(content))
    step = OPS["vote"](
        "v", inputs=["a"], threshold=1, across="expressions", grouping={"rule": "file", "file": str(file)}
    )
    (problem,) = step.problems(clip_of(2))
    assert problem.startswith(str(file)) and words in problem
    file.write_text(json.dumps({"v": [[1, 0]]}))
    assert step.problems(clip_of(2)) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        ("folder", "Is a directory"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[1]", "a list, expected {clip"),
        (b'{"v": [["0"]], "v": [["0"]]}', "one object has the key 'v' twice"),
        (b"[" * 100_000, "nested more than 64 deep"),
        (b'{"v": [["\\ud800"]]}', "half a character"),
    ],
)
def test_a_grouping_file_that_cannot_be_read_is_reported_with_the_step(content, words, tmp_path):
    file = tmp_path / "groups.json"
    if content == "folder":
        file.mkdir()
    elif content is not None:
        file.write_bytes(content)
    grouping = {"rule": "file", "file": str(file)}
    (problem,) = problems_of(OPS["vote"], "v", inputs=["a"], threshold=1, across="expressions", grouping=grouping)
    assert str(file) in problem and words in problem


def test_unknown_objects_are_reported():
    step = OPS["vote"]("v", inputs=["a"], threshold=1, across="expressions", grouping={"rule": "obj_id"})
    assert "does not say which object" in step.problems(clip_of(2))[0]
    assert step.problems(clip_of(2, known=True)) == []


# ------------------------------------------------------------------------------------------------ key frames and scores
def sequence(kind="binary", scores=(0.1, 0.9), **notes):
    masks = np.ones((2, 4, 6), bool if kind == "binary" else np.uint8)
    return MaskSequence(masks, kind, scores=None if scores is None else np.float32(scores), notes=notes)


SEQUENCES = {
    "scored": sequence(),
    "unscored": sequence(scores=None),
    "constant": sequence(scores=(0.5, 0.5)),
    "soft": sequence("prob"),
    "soft without": sequence("prob", scores=None),
    "keyed": sequence(key_frame=1),
}


@pytest.mark.parametrize("without", ["", "agreement", "temporal", "soft"])
@pytest.mark.parametrize("rule", KEY_FRAMES)
def test_key_frames_are_refused_in_advance_exactly_where_a_run_refuses_them(rule, without):
    key_frame = {"rule": rule, **({"without_scores": without} if "without_scores" in KEY_FRAMES[rule] else {})}
    clip = clip_of(1)
    for masks, scorer in itertools.product(SEQUENCES, repeat=2):
        step = OPS["propagate"]("p", **{"input": "m", "with": "flow", "scores_from": ["s"], "key_frame": key_frame})
        inputs = {"m": {"0": SEQUENCES[masks]}, "s": {"0": SEQUENCES[scorer]}}
        reported = step.input_problems(clip, {name: Traits(sequences=p) for name, p in inputs.items()})
        try:
            step.tasks(clip, inputs)
            refused = []
        except InputError as error:
            refused = error.problems
        assert reported == refused, (masks, scorer)
        known = {name: Traits(s.kind, s.scores is not None, "key_frame" in s.notes)
                for name, p in inputs.items() for s in p.values()}  # fmt: skip
        coarse = step.input_problems(clip, known)  # constant scores are visible only for masks on disk
        assert coarse == refused or (coarse == [] and scorer == "constant")
        assert step.input_problems(clip, {"m": Traits(), "s": Traits()}) == [], (
            "nothing is known, so nothing is reported"
        )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "no key frame for video 'v', expression '0'"),
        ({"v": [0]}, "no key frame for"),
        ({"v": {"0": 2}}, "key frame 2, expected frame indices from 0 to 1"),
        ({"v": {"0": -1}}, "key frame -1"),
        ({"v": {"0": 1e300}}, "key frame 1e+300"),
        ({"v": {"0": "1"}}, "key frame '1'"),
        ({"v": {"0": []}}, "key frame []"),
        ({"v": {"0": {"index_info": [1]}}}, "nothing at index_info.class_index"),
        ({"v": {"0": {"index_info": {"class_index": None}}}}, "nothing at index_info.class_index"),
        ({"v": {"0": [0, 7]}}, "key frame [0, 7]"),
    ],
)
def test_a_file_of_key_frames_that_does_not_fit_is_reported(content, words, tmp_path):
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(content))
    step = OPS["propagate"]("p", **{"input": "m", "with": "f", "key_frame": {"rule": "given", "file": str(file)}})
    (problem,) = step.input_problems(clip_of(1), {"m": Traits()})
    assert problem.startswith(str(file)) and words in problem
    assert problems_of(step.tasks, clip_of(1), {"m": {"0": sequence()}}) == [problem]
    assert step.input_problems(clip_of(1), {"m": Traits(objects=True)}) == [], "objects have names of their own"
    file.write_text(json.dumps({"v": {"0": {"index_info": {"class_index": 1}}}}))
    assert step.input_problems(clip_of(1), {"m": Traits()}) == []


def test_steps_compute_what_their_traits_predict():
    """The traits of a result, known before it is computed, hold for the result."""
    clip = clip_of(2)
    inputs = {"a": {"0": SEQUENCES["scored"], "1": SEQUENCES["unscored"]}, "b": {"0": SEQUENCES["soft"]}}
    inputs["b"]["1"] = SEQUENCES["soft"]
    inputs["a"] = {e: s.with_(presence=0.5) for e, s in inputs["a"].items()}
    for op, names, more in [
        *(("vote", ["a", "b"], {"threshold": t, "across": x, "leftover": y, "grouping": {"rule": r}})
          for t in (1, None) for x in (None, "expressions") for y in ("vote", "first", 1) for r in ("none", "pairs")),
        *(("vote", ["b", "a"], {"threshold": 1, "across": "expressions", "leftover": "first"}),),
        *(("average", ["a", "b"], {}), ("union", ["a", "b"], {})),
        *(("gated_average", names, {"key_frame": "first"}) for names in (["a", "b"], ["b", "a"])),
        *(("replace_or_union", names, {}) for names in (["a", "b"], ["b", "a"])),
    ]:  # fmt: skip
        step = OPS[op]("s", inputs=names, **more)
        traits = step.traits({name: Traits(sequences=p) for name, p in inputs.items()})
        for s in step.run(clip, inputs).values():
            assert traits.kind in (None, s.kind), (op, more)
            assert traits.scores in (None, s.scores is not None), (op, more)
            assert traits.key_frame in (None, "key_frame" in s.notes), (op, more)
            assert traits.presence in (None, s.presence is not None), (op, more)


def test_vote_maps_are_not_masks():
    a = {"a": find("soc", *ADAPTER)(weights="none.pth")}
    maps = OPS["vote"]("maps", inputs=["a"], threshold=None)
    for op, settings in {
        "vote": {"inputs": ["maps"], "threshold": 1},
        "union": {"inputs": ["maps"]},
        "replace_or_union": {"inputs": ["a", "maps"]},
        "propagate": {"input": "maps", "with": "f", "key_frame": "first"},
        "gated_average": {"inputs": ["maps", "a"], "key_frame": "first"},
        "seeds": {"inputs": ["maps"], "key_frame": "first"},
    }.items():
        found = engine_clips.input_problems(a, {"maps": maps, "s": OPS[op]("s", **settings)}, clip_of(1))
        assert found == ["step s: input maps is a vote map, which has no masks: set steps.maps.threshold"], op
    average = OPS["average"]("s", inputs=["maps"])
    assert engine_clips.input_problems(a, {"maps": maps, "s": average}, clip_of(1)) == []


# ------------------------------------------------------------------------------------- problems of a recipe, by check
def reported_by_check(tiny, capsys, *arguments):
    assert run_ensemble.main(["check", *tiny.arguments, *arguments]) == 2
    printed = capsys.readouterr().err
    assert run_ensemble.main([*tiny.arguments, *arguments]) == 2
    assert not (tiny.out / "Annotations").exists()
    return printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["steps.smr.threshold=7"], "threshold 7 of 3 votes"),
        (["steps.smr.threshold=7", "grouping.rule=obj_id"], "does not say which object an expression means"),
        (
            ["steps.smr_flow.scores_from=mutr"],
            "step smr_flow: key_frame of clip 'a', expression '0': mutr has no scores",
        ),
        (["steps.smr_flow.key_frame={rule: top, k: 2}", "steps.smr_flow.scores_from=mutr"], "mutr has no scores"),
        (["steps.smr_flow.key_frame=soft", "steps.smr_flow.scores_from=null"], "smr has no probabilities"),
        (["steps.smr_flow.key_frame=given"], "no source names a key frame"),
        (["steps.smr.threshold=null"], "input smr is a vote map"),
    ],
)
def test_check_reports_what_the_run_refuses(tiny, capsys, arguments, words):
    (tiny.root / "predictions" / "mutr.scores.json").unlink()
    assert words in reported_by_check(tiny, capsys, *arguments)


def test_constant_scores_are_reported_by_check(tiny, capsys):
    file = tiny.root / "predictions" / "soc.scores.json"
    scores = json.loads(file.read_text())
    for of_clip in scores.values():
        of_clip["1"] = [0.5] * T
    file.write_text(json.dumps(scores))
    assert "expression '1': soc has the same score 0.5 on all frames" in reported_by_check(tiny, capsys)
    file.unlink()
    shutil.rmtree(tiny.out, ignore_errors=True)
    printed = reported_by_check(tiny, capsys)
    assert "expression '0': soc has no scores: give a file of scores" in printed


def test_files_know_their_scores_without_reading_masks(tiny, monkeypatch):
    (tiny.root / "predictions" / "mutr.scores.json").unlink()
    loaded = recipe.load(tiny.arguments)
    (clip, *_) = loaded.dataset.clips()
    monkeypatch.setattr("rvos_ensemble.adapters.core.io.png.decode", lambda *a, **k: pytest.fail("a mask was decoded"))
    traits = {name: adapter.traits(clip) for name, adapter in loaded.sources.items()}
    assert (
        traits["soc"].all() == Traits("binary", True, False, presence=False, signals=())
        and traits["mutr"].all().scores is False
    )
    assert len(FRAMES) == len(traits["soc"].sequences["0"])
    tiny.mask_file().unlink()
    assert loaded.sources["soc"].traits(clip) is not None, "`check` reports what is missing"


def test_networks_declare_whether_they_have_scores():
    known = {name: find(name, *ADAPTER)(weights="none.pth").traits(clip_of(1)) for name in ("soc", "mutr", "uninext")}
    assert {name: (t.kind, t.scores) for name, t in known.items()} == {
        "soc": ("prob", True),
        "mutr": ("prob", False),
        "uninext": ("prob", True),
    }
