"""Help where one looks for it: `VERB --help`, `--version`, `list NAME`, wrong guesses, recipes as first words."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import run_ensemble
from rvos_ensemble.adapters.core.setting import ANY_KEY
from rvos_ensemble.adapters.core.settings import default_of, setting, whole
from rvos_ensemble.ensemble.commands.guide import comments
from rvos_ensemble.ensemble.commands.guide.keys import key_tables
from rvos_ensemble.ensemble.commands.guide.tables import KeyTable
from rvos_ensemble.ensemble.commands.list import KINDS
from rvos_ensemble.ensemble.commands.verbs import VERBS, parse
from rvos_ensemble.ensemble.recipe import schema

ROOT = Path(__file__).resolve().parents[3]
OWN = """import rvos_ensemble as rv
from rvos_ensemble.adapters.core.settings import whole

SHARED = {{"size": 3}}  # not of an entry


class Bright(rv.{base}):
    \"\"\"Everything brighter than a threshold.\"\"\"

    defaults = {{
        **SHARED,
        "level": whole(128),  # grey level, 0..255
        # where the picture is dark
        # at night
        "night": False,
        "plain": None,
    }}
"""


def printed(capsys, *arguments) -> str:
    assert run_ensemble.main([*arguments]) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments) -> str:
    assert run_ensemble.main([*arguments]) == 2
    output = capsys.readouterr()
    assert not output.out
    return output.err


def test_every_verb_is_a_file_and_in_the_help():
    files = {f.stem for f in (ROOT / "ensemble" / "commands").glob("*.py")}
    assert set(VERBS) <= files
    for verb in VERBS:
        assert verb == "run" or f"run_ensemble.py {verb}" in run_ensemble.__doc__, verb


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_its_keys_with_their_defaults(verb, capsys):
    text = printed(capsys, verb, "--help")
    assert text == printed(capsys, "help", verb)
    assert "run_ensemble" in text or verb in ("train", "weights"), "examples"
    shared = {t.title for t in key_tables("run")} if verb in ("ablate", "check") else set()
    for table in key_tables(verb):
        for key, value in table.settings.items() if table.title not in shared else ():
            (line,) = re.findall(rf"^  {re.escape(table.prefix + key)} .*", text, re.MULTILINE)
            default = default_of(value)
            if table.optional and isinstance(default, (int, str)) and default not in ("", "???"):
                assert str(default).lower() in line.lower(), key
    assert all(len(line) <= 120 for line in text.splitlines())


def test_help_of_what_is_named(capsys):
    assert "jf_over" in printed(capsys, "evaluate", "protocol=mevis", "--help")
    assert "jf_over" not in printed(capsys, "evaluate", "--help")
    assert "steps.final.KEY: `list vote`" in printed(capsys, "stage2", "--help")
    text = printed(capsys, "-h")
    assert text == printed(capsys, "help") and all(f" {verb} " in text for verb in VERBS if verb != "run")
    assert "evaluate" in refused(capsys, "help", "evalute")


def test_the_version():
    done = subprocess.run([sys.executable, "run_ensemble.py", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (f"rvos-ensemble {version('rvos-ensemble')}\n", 0)


def test_comments_beside_entries_are_their_only_explanation(tmp_path):
    found = comments.of_name(schema, "ENGINE")
    assert found["workers"] == "0: all of a cluster; else one per GPU if a component uses GPUs, or one per core"
    from rvos_ensemble.adapters.soc import SOCAdapter
    from rvos_ensemble.propagators.aot import AOT

    soc = comments.of_class(SOCAdapter)
    assert soc["frames_per_step"] == "frames per forward pass: affects memory, not results", "of **DEFAULTS"
    assert soc["long_side"] == "of the input at most, pixels", "of LONG_SIDE, changed by .at"
    assert soc["layer"].startswith("official: masks of the first decoder layer"), "its own, not that of LAYER"
    assert set(comments.of_class(AOT)) >= {k for k in AOT.defaults if k == "weights"}, "of its base class"
    assert comments.of_class(type("Made", (), {})) == {}, "without a source"


@pytest.mark.parametrize(("base", "kind"), [("Adapter", "adapter"), ("Propagator", "propagator"), ("Step", "step")])
def test_a_component_of_the_user_is_described(base, kind, tmp_path, capsys):
    file = tmp_path / "bright.py"
    file.write_text(OWN.format(base=base))
    text = printed(capsys, "list", str(file))
    assert "Everything brighter than a threshold." in text
    assert re.search(r"^  level +128 +grey level, 0..255 \(a whole number", text, re.MULTILINE)
    assert re.search(r"^  night +false +where the picture is dark at night \(true or false\)$", text, re.MULTILINE)
    assert re.search(r"^  size +3 +a whole number", text, re.MULTILINE) and re.search(
        r"^  plain +null", text, re.MULTILINE
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "expected a class that derives from one of Dataset, Adapter, Propagator, Step, Protocol"),
        ("import nothing_of_that_name\n", "line 1: ModuleNotFoundError"),
        ("class:\n", "SyntaxError"),
    ],
)
def test_files_that_are_no_component(text, message, tmp_path, capsys):
    file = tmp_path / "own.py"
    file.write_text(text)
    assert message in refused(capsys, "list", str(file))
    assert "no such file" in refused(capsys, "list", str(tmp_path / "missing.py"))


def test_lists_of_one_kind_and_every_name(capsys):
    whole_list = printed(capsys, "list")
    for kind, (names, _) in KINDS.items():
        text = printed(capsys, "list", *kind.split())
        assert text.startswith(f"{kind}:\n") and text in whole_list
        assert [line.split()[0] for line in text.splitlines()[1:]] == [*names()]
    assert printed(capsys, "list", "adapter") == printed(capsys, "list", "adapters")
    assert printed(capsys, "list", "data-sets").startswith("data sets:")


@pytest.mark.parametrize("kind", [kind for kind, (_, where) in KINDS.items() if not isinstance(where, Path)])
def test_every_component_is_described_with_all_its_settings(kind, capsys):
    from rvos_ensemble.adapters.core.component import find

    names, where = KINDS[kind]
    for name in names():
        text = printed(capsys, "list", name)
        assert f"{kind}: {name}: " in text
        for key in find(name, *where).defaults:
            assert re.search(rf"^  {key}( |$)", text, re.MULTILINE), f"{name}: {key}"


def test_a_name_of_several_things_and_a_recipe(capsys):
    text = printed(capsys, "list", "urvos")
    assert all(f"{kind}: " in text for kind in ("recipes", "adapters", "propagators", "protocols"))
    assert (ROOT / "recipes" / "stage2.yaml").read_text().strip() in printed(capsys, "list", "stage2")


@pytest.mark.parametrize(
    ("arguments", "guess"),
    [
        (["stag2"], "stage2"),
        (["Stage2"], "stage2"),
        (["eval", "gt=a"], "evaluate"),
        (["--list"], "list"),
        (["run", "stag2"], "stage2"),
        (["recipe=stag2"], "stage2"),
        (["check", "lsvos23"], "lsvos2023"),
        (["stage2", "data=davis17"], "ref_davis17"),
        (["stage2", "--out=x"], "out"),
        (["stage2", "data=shapes", "steps.final.treshold=4"], "threshold"),
        (["stage2", "data=shapes", "propagators.aot.propagator=flwo"], "flow"),
        (["evaluate", "gt=.", "pred=.", "protocol=ytvos_ref"], None),
        (["evaluate", "gt=.", "pred=.", "protocol=davis17"], "ref_davis17"),
        (["ablate", "stage2", "ablate=source"], "sources"),
        (["ablate", "stage2", "steps"], "ablate=steps"),
        (["train", "segmenter=refformer"], "referformer"),
        (["list", "refer_former"], "referformer"),
        (["list", "protocol_s"], "protocols"),
        (["completion", "tcsh"], None),
    ],
)
def test_wrong_guesses(arguments, guess, capsys):
    message = refused(capsys, *arguments)
    assert (f"did you mean `{guess}`?" in message) if guess else ("did you mean" not in message), message
    assert all(line.startswith("error: ") for line in message.splitlines())


@pytest.mark.parametrize(
    ("arguments", "meaning"),
    [
        (["stage2"], ["run", "recipe=stage2"]),
        (["stage2", "out=x"], ["run", "recipe=stage2", "out=x"]),
        (["recipe=stage2"], ["run", "recipe=stage2"]),
        (["out=x", "recipe=stage2"], ["run", "out=x", "recipe=stage2"]),
        (["mine/my.yaml"], ["run", "recipe=mine/my.yaml"]),
        (["run", "stage1", "a=b"], ["run", "recipe=stage1", "a=b"]),
        (["check", "stage1"], ["check", "recipe=stage1"]),
        (["ablate", "ablate=steps", "recipe=stage1"], ["ablate", "ablate=steps", "recipe=stage1"]),
        (["evaluate", "gt=a"], ["evaluate", "gt=a"]),
        (["stage2", "--help"], ["help", "run", "recipe=stage2"]),
        (["--help", "train"], ["help", "train"]),
    ],
)
def test_what_first_words_mean(arguments, meaning):
    verb, rest = parse(arguments)
    assert [verb, *rest] == meaning


@pytest.mark.parametrize(
    ("verb", "module"), [([], "run"), (["run"], "run"), (["check"], "check"), (["ablate"], "ablate")]
)
def test_recipes_as_first_words_reach_their_verbs(verb, module, monkeypatch):
    called = []
    monkeypatch.setattr(f"rvos_ensemble.ensemble.commands.{module}.run", lambda a: called.append(a) or 7)
    assert run_ensemble.main([*verb, "stage2", "out=x"]) == 7
    assert called == [["recipe=stage2", "out=x"]]


def test_options_with_dashes_are_keys_without(capsys):
    message = refused(capsys, "stage2", "--out", "x")
    assert "argument '--out': expected key=value, without dashes" in message and "argument 'x': expected" in message


def test_tables_show_what_a_setting_expects_once():
    known = {"a": whole(3, least=1), "b": "text", ANY_KEY: setting(None)}
    lines = KeyTable("t", known, lambda: {"a": "a whole number of at least 1, of pixels", "b": "its name"}).text()
    assert "a  3" in lines and lines.count("whole number") == 1 and "its name" in lines
