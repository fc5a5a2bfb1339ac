"""Shell completion: the words come from the tables of verbs, recipes and keys, and the shells accept the scripts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import run_ensemble
from rvos_ensemble.ensemble.commands.completion import words
from rvos_ensemble.ensemble.commands.guide.candidates import SHELLS
from rvos_ensemble.ensemble.commands.verbs import VERBS
from rvos_ensemble.ensemble.recipe import schema
from rvos_ensemble.ensemble.recipe.config import loading
from rvos_ensemble.ensemble.steps.vote import Vote

ROOT = Path(__file__).resolve().parents[3]


def test_first_words_are_verbs_recipes_and_keys():
    found = words("run_ensemble ")
    assert {*VERBS, *loading.names(), "--help", "--version"} <= {*found}
    keys = {word.rstrip("=.") for word in found}
    assert {*schema.DEFAULTS, "recipe"} <= keys | {"sources", "steps", "propagators"}
    assert found == sorted(found) and words("run_ensemble stage") == ["stage1", "stage2"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("stage2 st", {"steps.", "store="}),
        ("stage2 steps.smr", {"steps.smr.", "steps.smr_aot."}),
        ("check stage2 propagators.aot.wei", {"propagators.aot.weights="}),
        ("recipe=stage", {"recipe=stage1", "recipe=stage2"}),
        ("stage2 data=sh", {"data=shapes", "data=shapes_mevis"}),
        ("stage2 steps.final.op=gat", {"steps.final.op=gate", "steps.final.op=gated_average"}),
        ("stage2 engine.", {"engine.backend=", "engine.workers=", "engine.cache_mb="}),
        ("evaluate protocol=ref", {"protocol=ref_davis17", "protocol=ref_youtube_vos"}),
        ("evaluate protocol=mevis jf", {"jf_over="}),
        ("ablate stage2 ablate=s", {"ablate=sources", "ablate=steps"}),
        ("ablate stage2 ablate=steps ablate.se", {"ablate.seed="}),
        ("train segmenter=so", {"segmenter=soc"}),
        ("list prot", {"protocols"}),
        ("list soc", {"soc"}),
        ("completion z", {"zsh"}),
        ("help ev", {"evaluate"}),
        ("weights v", {"verify"}),
        ("stage2 out=", set()),  # a path: the shell completes it
        ("stage2 out=x out", {"output="}),  # each key once
        ("nosuch ", set()),
        ("stage2 'an open quote", set()),
        ("recipe=/no/such.yaml steps.", set()),
    ],
)
def test_words_of_a_line(line, expected):
    assert {*words(f"run_ensemble {line}")} == expected


def test_keys_of_a_step_are_those_of_its_operation():
    found = {word.removeprefix("steps.final.") for word in words("run_ensemble stage2 steps.final.")}
    assert found == {*(f"{key}=" for key in Vote.defaults), "grouping."} - {"grouping="} | {"grouping="} & found


def test_a_recipe_of_the_user_is_read(tiny):
    found = words(f"run_ensemble {tiny.recipe} steps.")
    assert found == ["steps.smr.", "steps.smr_flow."]


@pytest.fixture
def program(tmp_path) -> Path:
    """A program of the name that the scripts complete."""
    file = tmp_path / "run_ensemble"
    file.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "run_ensemble.py"} "$@"\n')
    file.chmod(0o755)
    return file


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_a_shell_is_valid(shell, tmp_path, capsys):
    assert run_ensemble.main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    assert subprocess.run([shell, "-n", script], capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("line", "expected"), [("run_ensemble stage2 steps.fi", "steps.final."), ("run_ensemble recipe=single", "single")]
)
def test_bash_completes(line, expected, program, capsys):
    """In bash the part behind `=` is a word of its own."""
    assert run_ensemble.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out + (
        f"compopt() {{ :; }}\nCOMP_LINE='{line}' COMP_POINT={len(line)} COMP_WORDS=({program} x)\n"
        '_run_ensemble\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{expected}\n", "")


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_completes(program, capsys):
    assert run_ensemble.main(["completion", "fish"]) == 0
    script = capsys.readouterr().out + "complete -C 'run_ensemble stage2 steps.fi'\n"
    path = f"{program.parent}:{os.environ['PATH']}"
    done = subprocess.run(["fish", "-c", script], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert "steps.final." in done.stdout.split()
