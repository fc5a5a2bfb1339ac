"""Real video with the masks of real models, from ../shared; skipped if that folder is missing."""

import json

import numpy as np
import pytest
from PIL import Image

import run_ensemble
from rvos_ensemble.adapters.core.io import png

RECIPE = """# OSVOS, and the RVOS proposal track nearest to it, propagated and fused.
data: {{dataset: ref_youtube_vos, root: {data}/ref_davis_mini}}
sources:
  osvos: {{adapter: files, path: {data}/predictions/osvos}}
  proposals: {{adapter: files, path: {preds}/proposals}}
propagators: {{flow: {{}}}}
steps:
  osvos_flow: {{op: propagate, input: osvos, with: flow, key_frame: agreement, scores_from: [osvos, proposals]}}
  proposals_flow: {{op: propagate, input: proposals, with: flow, key_frame: agreement, scores_from: [osvos, proposals]}}
  fused: {{op: vote, inputs: [osvos, proposals, osvos_flow], across: expressions, threshold: 0.5}}
output: fused
"""


@pytest.fixture
def real(shared, tmp_path):
    """A recipe over the real clips; the proposals' source is a PNG tree made from one track of each clip."""
    data = shared / "data"
    meta = data / "ref_davis_mini/meta_expressions/valid/meta_expressions.json"
    for video, entry in json.loads(meta.read_text())["videos"].items():
        tracks = np.stack(
            [np.array(Image.open(data / f"predictions/rvos_proposals/{video}/{f}.png")) for f in entry["frames"]]
        )
        osvos = np.stack(
            [np.array(Image.open(data / f"predictions/osvos/{video}/{f}.png")) > 0 for f in entry["frames"]]
        )
        common = np.bincount(tracks[osvos], minlength=256) / (np.bincount(tracks.ravel(), minlength=256) + osvos.sum())
        common[0] = 0
        for expression in entry["expressions"]:
            folder = tmp_path / "preds/proposals/Annotations" / video / expression
            folder.mkdir(parents=True)
            for frame, track in zip(entry["frames"], tracks, strict=True):
                (folder / f"{frame}.png").write_bytes(png.encode(track == common.argmax()))
    recipe = tmp_path / "real.yaml"
    recipe.write_text(RECIPE.format(data=data, preds=tmp_path / "preds"))
    return [f"recipe={recipe}", f"out={tmp_path / 'out'}"]


def scores(arguments) -> dict:
    out = arguments[1].removeprefix("out=")
    with open(f"{out}/metrics.json") as file:
        return {n: s["J&F"] for n, s in json.load(file)["steps"].items()}


def test_real_masks_are_read_and_fused(real):
    """Palettes of object ids by obj_id, a vote over four expressions of one object; numbers of the first run."""
    fused = ["steps.osvos_flow=null", "steps.proposals_flow=null", "steps.fused.inputs=[osvos,proposals]"]
    assert run_ensemble.main([*real, *fused]) == 0
    results = scores(real)
    assert results["osvos"] == pytest.approx(0.8176, abs=5e-4)
    assert results["proposals"] == pytest.approx(0.8740, abs=5e-4)


@pytest.mark.slow
def test_real_masks_propagated_and_fused(real):
    assert run_ensemble.main(real) == 0
    results = scores(real)
    assert results["fused"] > results["osvos"], results
    assert all(0.75 < v < 0.95 for v in results.values()), results
