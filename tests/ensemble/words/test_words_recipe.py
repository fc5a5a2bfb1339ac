"""A recipe with `words` from candidates to a gate: it runs, resumes, reports what was understood, and is checked."""

import json
import re

import pytest
from helpers.tiny import make_tiny

import run_ensemble
from rvos_ensemble.adapters.inference.image_classes import extra

RECIPE = """# Grounding by words on a tiny benchmark.
data: {{dataset: ref_youtube_vos, root: {root}, split: valid}}
sources: {{proposals: {{adapter: simulated_proposals}}}}
propagators: {{flow: {{}}}}
steps:
  candidates: {{op: candidates, inputs: proposals, k: 2}}
  tracks: {{op: propagate, input: candidates, with: flow, key_frame: given}}
  tracklets: {{op: tracklets, input: tracks, scores_from: candidates}}
  chosen: {{op: words, input: tracklets}}
  gated: {{op: gate, input: chosen, tau: 0.15, jurors: {{words: {{presence: chosen, missing: unknown}}}}}}
output: gated
engine: {{workers: 1}}
"""


@pytest.fixture
def words(tmp_path, monkeypatch):
    """The recipe on one clip of two blocks; image classes are not installed."""
    monkeypatch.setattr(extra, "path_of", lambda package: None)
    tiny = make_tiny(tmp_path, ("a",))
    tiny.recipe.write_text(RECIPE.format(root=tiny.root))
    meta = tiny.root / "meta_expressions" / "valid" / "meta_expressions.json"
    sentences = iter(("the block on the left", "", "un gros chien noir"))
    meta.write_text(re.sub(r"block \d", lambda m: next(sentences, "block"), meta.read_text()))
    return tiny


def test_the_recipe_runs_resumes_and_says_what_it_understood(words, capsys):
    assert run_ensemble.main(words.arguments) == 0
    printed = capsys.readouterr().out
    assert "chosen by words" in printed and extra.INSTALL in printed
    page = (words.out / "report.html").read_text()
    assert "on the left: place left" in page and "not understood: block" in page
    assert "does not look English" in page and "the sentence has no words" in page
    notes = json.loads((words.out / "manifest.json").read_text())["clips"]["a"]["notes"]
    assert notes["chosen"]["0"]["words"]["not_understood"] == ["block"]
    assert notes["gated"]["0"]["gate"]["decision"] == "undecided"  # a place cannot say that nothing is there
    assert run_ensemble.main(words.arguments) == 0
    assert "0 clips done, 1 reused" in capsys.readouterr().out


def test_the_extra_can_be_required(words, capsys):
    assert run_ensemble.main(["check", *words.arguments, "steps.chosen.object_words=required"]) == 2
    assert extra.INSTALL in capsys.readouterr().err


def test_kinds_of_inputs_are_checked(words, capsys):
    assert run_ensemble.main(["check", *words.arguments, "steps.chosen.input=chosen"]) == 2
    assert run_ensemble.main(["check", *words.arguments, "output=tracklets"]) == 2
    assert "expected expressions" in capsys.readouterr().err
