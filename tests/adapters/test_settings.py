"""Every setting of every component, step, protocol, rule and training: a wrong value is reported in a sentence."""

import math

import pytest
from helpers.ops import OPS

from rvos_ensemble.adapters.core.component import available, find, merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.own_code import defaults_problem
from rvos_ensemble.adapters.core.settings import (
    REQUIRED,
    Setting,
    anything,
    choice,
    default_of,
    defaults_of,
    either,
    listed,
    names,
    number,
    setting,
    table,
    text,
    texts,
    whole,
)
from rvos_ensemble.adapters.training.loop import loop
from rvos_ensemble.ensemble.commands import evaluate
from rvos_ensemble.ensemble.commands.families import trainable
from rvos_ensemble.ensemble.fusion import grouping
from rvos_ensemble.ensemble.metrics import protocols
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol
from rvos_ensemble.ensemble.recipe.components import KINDS
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.propagators.core.key_frame_settings import RULES, settings_of
from rvos_ensemble.propagators.inference.aot.settings import TTA

LONG = "x" * 5000
VALUES = [
    *("", " ", "x", "auto", "a/b", "~no_such_user/x", "/", "\0", "\udcff", "???", LONG, "null", "1e400"),
    *(None, True, False, -1, 0, 1, 2, 7, 0.5, 1.5, -0.5, math.nan, math.inf, -math.inf, 10**30, -(10**30), 10**400),
    *([], [1], [-1, 2], [1, 1], [0, 0], ["x"], ["x", "y"], [None], [[]], [math.nan], [10**30], {}, {"a": 1}),
    *({"rule": ["x"]}, {"rule": "top", "k": math.inf}, {"rule": "given", "file": "/"}, {"flip": 1}, {"scales": [0]}),
    *({"rule": "file", "file": "/"}, {1: 2}, (1, 2), b"x", 1j, object(), {1, 2}),
]
RECIPE_VALUES = [v for v in VALUES if isinstance(v, (str, int, float, list, dict, type(None))) and v != {1: 2}]
TEXTS = ("path", "root", "file", "weights", "tokenizer", "meta", "cache", "video", "videos", "variant", "split")
SOURCES = {**KINDS, "protocol": (Protocol, protocols, evaluate.GROUP)}
CLASSES = {f"{kind}:{n}": find(n, *where) for kind, where in SOURCES.items() for n in available(*where)}
TRAINERS = {f"{kind}:{name}": family for kind, of in trainable().items() for name, family in of.items()}
TABLES = {
    **{name: component.defaults for name, component in CLASSES.items()},
    **{f"rule:{name}": rule for name, rule in RULES.items()},
    **{name: {**loop.DEFAULTS, **family.trainer().DEFAULTS} for name, family in TRAINERS.items()},
    "grouping": grouping.SETTINGS,
    "tta": TTA,
}


def minimal(defaults):
    """The required settings; no such file exists."""
    needed = {key for key, known in defaults.items() if default_of(known) == REQUIRED}
    special = {"inputs": ["a", "b"], "scores_from": ["a"], "threshold": 1}
    return {key: special.get(key, "missing.json") for key in needed}


def problems_of(make):
    """What is wrong, one sentence each; anything but an InputError fails the test."""
    try:
        make()
    except InputError as error:
        assert all(p and p == p.strip() and "\n" not in p and len(p) < 1500 for p in error.problems), error.problems
        return error.problems
    return []


def expect_named(make, values):
    """Tries every wrong value of every setting; the sentences name the setting."""
    before = set(problems_of(lambda: make(values)))
    for key in [k for k in values] + ["unknown", "self", "name", "0", LONG]:
        for value in VALUES:
            problems = problems_of(lambda key=key, value=value: make({**values, key: value}))
            new = [p for p in problems if p not in before]
            named = key if len(key) < 100 else "xxx"
            first = value[0] if isinstance(value, list) and value else value
            message = first[:50] if isinstance(first, str) and first.strip() else named  # a file that does not exist
            assert not new or any(named in p or message in p for p in new), (key, value, new)


@pytest.mark.parametrize("name", TABLES)
def test_every_setting_declares_its_kind(name):
    assert defaults_problem(TABLES[name]) is None
    for key, known in TABLES[name].items():
        assert isinstance(known, Setting), f"{key} has a plain default: declare its kind"
        assert known.expected and known.spelling in ("text", "names", "yaml")
        assert default_of(known) == REQUIRED or known.problem(known.default) is None
        weighs_inputs = key == "weights" and name in ("op:vote", "op:average", "op:consensus", "op:select")
        if key in TEXTS and not weighs_inputs:
            assert known.spelling in ("text", "names"), f"{key}=exp #2 must be read as it stands"


@pytest.mark.parametrize("name", [name for name in CLASSES if not name.startswith("op:")])  # see `test_steps`
def test_components(name):
    component = CLASSES[name]
    values = {**defaults_of(component.defaults), **minimal(component.defaults)}
    expect_named(lambda settings: component(**settings), values)


@pytest.mark.parametrize("op", OPS)
def test_steps(op):
    values = {**defaults_of(OPS[op].defaults), **minimal(OPS[op].defaults)}
    expect_named(lambda settings: OPS[op]("s", **settings), values)


@pytest.mark.parametrize("rule", RULES)
def test_rules_of_key_frames(rule):
    expect_named(lambda settings: settings_of({"rule": rule, **settings}), defaults_of(RULES[rule]))


@pytest.mark.parametrize("name", TRAINERS)
def test_trainings(name):
    defaults = TABLES[name]
    expect_named(lambda settings: merge_settings(defaults, settings, "train"), defaults_of(defaults))


def test_grouping():
    expect_named(lambda settings: grouping.check_settings(settings, "grouping"), defaults_of(grouping.SETTINGS))


@pytest.mark.parametrize("name", TABLES)
def test_values_of_the_command_line_are_read_or_refused(name):
    for known in TABLES[name].values():
        for line in ("", "x", "exp #2", "no", "~", "&x", "*x", "[1, 2", "{a: 1", "1:2:3", "!!python/x", "1e9999", "["):
            problems_of(lambda known=known, line=line: known.problem(known.read(line)))


# ------------------------------------------------------------------------------------------------ through a recipe
CONFIG = {
    "data": {"dataset": "shapes", "root": "missing"},
    "sources": {n: {"adapter": "files", "path": "missing"} for n in "ab"} | {"o": {"adapter": "simulated_proposals"}},
    "propagators": {"flow": {}},
    "steps": {
        "vote": {"op": "vote", "inputs": ["a", "b"], "across": "expressions", "threshold": 1},
        "average": {"op": "average", "inputs": ["a", "b"]},
        "gated": {"op": "gated_average", "inputs": ["a", "b"]},
        "union": {"op": "union", "inputs": ["a", "b"]},
        "replaced": {"op": "replace_or_union", "inputs": ["a", "b"]},
        "moved": {"op": "propagate", "input": "a", "with": "flow"},
        "refined": {"op": "refine", "input": "a", "with": "flow"},
        "tracked": {"op": "track", "input": "a", "with": "flow"},
        "candidates": {"op": "candidates", "inputs": ["o"]},
        "tracks": {"op": "propagate", "input": "candidates", "with": "flow", "key_frame": "given"},
        "tracklets": {"op": "tracklets", "input": "tracks", "scores_from": "candidates"},
        "seeds": {"op": "seeds", "inputs": ["a", "b"]},
        "instances": {"op": "propagate", "input": "seeds", "with": "flow", "key_frame": "given"},
        "united": {"op": "unite", "input": "instances"},
    },
    "output": "vote",
}


def build(**changes):
    return Recipe.build("r", {**CONFIG, **changes})


@pytest.mark.parametrize("step", CONFIG["steps"])
def test_steps_of_a_recipe(step):
    settings = CONFIG["steps"][step]
    defaults = OPS[settings["op"]].defaults
    build()
    for key in ["op", *defaults]:
        for value in RECIPE_VALUES:
            changed = {**CONFIG["steps"], step: {**settings, key: value}}
            problems_of(lambda steps=changed: build(steps=steps))


@pytest.mark.parametrize("group", ["data", "sources", "propagators", "grouping", "engine"])
def test_tables_of_a_recipe(group):
    for value in RECIPE_VALUES:
        problems_of(lambda value=value: build(**{group: value}))
        inner = {"data": "dataset", "sources": "a", "propagators": "flow", "grouping": "rule", "engine": "workers"}[
            group
        ]
        changed = {**CONFIG.get(group, {}), inner: value}
        problems_of(lambda changed=changed: build(**{group: changed}))
    kind = {"sources": ("a", "adapter"), "propagators": ("flow", "propagator")}.get(group)
    for value in RECIPE_VALUES if kind else ():
        problems_of(lambda value=value: build(**{group: {**CONFIG[group], kind[0]: {kind[1]: value}}}))


def test_all_problems_of_a_component_or_step_are_reported_together():
    flow = CLASSES["propagator:flow"]
    problems = problems_of(lambda: flow(max_side=3, preset="slow", learn=2, edge_radius=-1, appearence=1))
    assert [next(k for k in flow.defaults if f"`{k}`" in p) for p in problems[1:]] == [
        *("max_side", "preset", "learn", "edge_radius")
    ]
    assert "did you mean `appearance`" in problems[0]
    problems = problems_of(
        lambda: OPS["vote"](
            *("v",),
            **{"inputs": ["a", "b"], "weights": [1], "threshold": [1], "across": "expressions", "leftover": "last"},
            **{"grouping": {"rule": "file", "file": "/", "min_iou": math.nan}, "treshold": 1},
        )
    )
    message = "\n".join(problems)
    for words in ("treshold", "`threshold` is [1]", "`leftover` is 'last'", "1 weights for 2 masks", "min_iou", "/"):
        assert words in message
    aot = CLASSES["propagator:aot"]
    problems = problems_of(
        lambda: aot(weights=None, batch=0, device="tpu", tta={"scales": [], "flop": 1}, pack=True, variant="aotx")
    )
    message = "\n".join(problems)
    for words in ("`weights` must be given", "`batch` is 0", "`device` is 'tpu'", "scales", "flop", "aotx"):
        assert words in message


# ------------------------------------------------------------------------------------------------- the kinds themselves
@pytest.mark.parametrize(
    ("known", "right", "wrong"),
    [
        (text(), ["x", "exp #2", "no"], ["", " ", None, 1, True, ["x"], "\0", "\ud800"]),
        (text(None), ["x", None], ["", 1]),
        (text(""), ["", "x"], [None, 1, " "]),
        (choice(None, "a", "b"), [None, "a"], ["", "c", ["a"], 1]),
        (choice(0, 1), [0, 1], [True, 1.0, "0", None, 2]),
        (whole(8, least=1, words=("auto",)), [1, 10**9, "auto"], [0, 1.0, True, "x", None, 10**30]),
        (number(0.5, above=0, below=1), [0.1, 0.9], [0, 1, math.nan, math.inf, "x", True, None, 10**400]),
        (names(None), [None, "a", ["a", 5], 12], ["", [], [""], [None], {"a": 1}, True, 1.5]),
        (texts(), ["a", ["a", "b"]], ["", [], [1], None, 5, ["\udcff"]]),
        (listed(whole(), least=2, most=2), [[1, 2], (0, 0)], [[1], [1, 2, 3], [1, "x"], "12", None, 3]),
        (table(), [{}, {"a": 1}], [[], "x", None]),
        (either(None, whole(), listed(whole(), least=1)), [None, 1, [1, 2]], [[], "x", [[]]]),
        (anything(), [1, "x", []], ["???"]),
        (setting("x"), ["y", ""], [1, None, ["x"], {}]),  # a plain default of a component of the user's own
        (setting(3), [-5, 0], ["3", 1.5, None, True]),
        (setting(0.5), [1, -2.5], ["x", None, math.nan]),
        (setting(True), [False], [0, "true", None]),
        (setting([1]), [[]], ["x", {}, None]),
        (setting({}), [{"a": 1}], [[], "x"]),
        (setting(None), [1, "x", None], []),
    ],
)
def test_kinds_of_settings(known, right, wrong):
    assert [v for v in right if known.problem(v) is not None] == []
    assert [v for v in wrong if known.problem(v) is None] == []


@pytest.mark.parametrize(
    ("known", "written", "value"),
    [
        (text(), "exp #2", "exp #2"),
        (text(), "no", "no"),
        (text(), "", ""),
        (text(), "[a]", "[a]"),
        (text(None), "null", None),
        (names(None), "0123", "0123"),
        (names(None), "[0123, no, ~]", ["0123", "no", "~"]),
        (texts(), "a dog, running: #2", "a dog, running: #2"),
        (texts(), "[a dog, 'a cat, too']", ["a dog", "a cat, too"]),
        (number(1), "1e-4", 1e-4),
        (number(1), "-2.5", -2.5),
        (whole(1), "7", 7),
        (choice(None, "mp4"), "mp4", "mp4"),
        (setting(True), "false", False),
        (listed(whole()), "[1, 2]", [1, 2]),
        (table(), "{flip: true, scales: [1.0]}", {"flip": True, "scales": [1.0]}),
        (text("x"), "2024-01-01", "2024-01-01"),
        (anything(3), "2024-01-01", "2024-01-01"),
    ],
)
def test_how_a_value_of_the_command_line_is_read(known, written, value):
    assert known.read(written) == value
