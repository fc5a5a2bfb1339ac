"""Recipes with segmenters and detectors of transformers, from the command line to masks; tiny random networks."""

import json

import pytest
from helpers import tiny_detectors, tiny_sam
from test_shipped_recipes import small  # noqa: F401  a small rendering of `shapes`

import run_ensemble

CLIP = "data.videos=[06_easy_odd_one_out]"
TOPDOWN = """base: topdown
sources:
  proposals: {{adapter: mask2former, weights: {mask2former}, threshold: 0.1, most: 2, k: 2}}
  eomt: {{adapter: eomt, weights: {eomt}, threshold: 0.1, most: 2, k: 2}}
steps:
  candidates: {{op: candidates, inputs: [proposals, eomt], k: 2}}
  tracks: {{op: propagate, input: candidates, with: flow, key_frame: given}}
  image_level: null
  image_level_aot: null
  every_tracklet: null
  matched: null
  grounded: null
  ensemble: null
"""
SENTENCES = """data: shapes
sources:
  boxes: {{adapter: grounding_dino, weights: {dino}, masks: {sam2}, threshold: 0.1, k: 2}}
  concepts: {{adapter: sam3, weights: {sam3}, threshold: 0.1, k: 2}}
propagators: {{flow: {{}}}}
steps:
  boxes_flow: {{op: propagate, input: boxes, with: flow, key_frame: argmax}}
  concepts_flow: {{op: propagate, input: concepts, with: flow, key_frame: given}}
  both: {{op: average, inputs: [boxes_flow, concepts_flow]}}
  gated: {{op: gate, input: both, jurors: {{concepts: {{presence: concepts_flow}}}}, tau: 1.0}}
output: gated
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = tmp_path_factory.mktemp("models")
    names = {"mask2former": "mask2former", "eomt": "eomt", "dino": "grounding-dino", "sam3": "sam3"}
    found = {name: tiny_detectors.write(made / name, kind) for name, kind in names.items()}
    return found | {"sam2": tiny_sam.write_folder(made / "sam2", tiny_sam.tiny_sam("sam2"))}


def test_topdown_with_candidates_of_two_segmenters(small, folders, tmp_path, capsys):  # noqa: F811
    recipe = tmp_path / "own.yaml"
    recipe.write_text(TOPDOWN.format(**folders))
    out = tmp_path / "out"
    assert run_ensemble.main([f"recipe={recipe}", *small, CLIP, f"out={out}", "engine.workers=1"]) == 0, (
        capsys.readouterr()
    )
    notes = json.loads((out / "manifest.json").read_text())["clips"]["06_easy_odd_one_out"]["notes"]
    for chosen in notes["topdown"].values():  # the class label of a segmenter reaches the answer
        assert chosen["object"].split("/")[0] in ("proposals", "eomt")
        assert chosen["label"] in tiny_detectors.CLASSES.values() and chosen["key_frame"] in (2, 6)


def test_sentences_to_masks_with_a_gate(small, folders, tmp_path, capsys):  # noqa: F811
    recipe = tmp_path / "own.yaml"
    recipe.write_text(SENTENCES.format(**folders))
    out = tmp_path / "out"
    assert run_ensemble.main([f"recipe={recipe}", *small, CLIP, f"out={out}", "engine.workers=1"]) == 0, (
        capsys.readouterr()
    )
    notes = json.loads((out / "manifest.json").read_text())["clips"]["06_easy_odd_one_out"]["notes"]
    presences = [n["gate"]["presence"] for n in notes["gated"].values()]
    assert presences and all(0 < p < 1 for p in presences)  # that of the source, through `propagate`


def test_check_names_the_source_and_everything_that_is_missing(small, folders, tmp_path, capsys):  # noqa: F811
    recipe = tmp_path / "own.yaml"
    recipe.write_text(SENTENCES.format(**{**folders, "sam3": tmp_path, "dino": folders["eomt"]}))
    assert run_ensemble.main(["check", f"recipe={recipe}", *small, CLIP]) == 2
    printed = capsys.readouterr().err
    for words in (
        f"source concepts: {tmp_path}: has no config.json",
        f"source concepts: {tmp_path}: has no model.safetensors",
        "source boxes: ",
        "describes a network of the kind 'eomt'",
    ):
        assert words in printed
