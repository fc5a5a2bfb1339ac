"""Cutie against numbers of the official code, which `benchmarks/official_cutie.py` writes.

Tolerance: 1e-4 of a probability; float32 leaves 5e-6 on these scenes.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cutie_scenes import SCENES, SIZES, cutie_weights, video

from rvos_ensemble.adapters.networks.layers import to_map
from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.cutie import Cutie
from rvos_ensemble.propagators.inference.cutie.layout import Layout
from rvos_ensemble.propagators.networks.cutie.affinity import best_of, most_similar, query_side, read_values
from rvos_ensemble.propagators.networks.cutie.network import Cutie as Network

GOLDEN = Path(__file__).parent / "golden.npz"
CHANNELS = 8  # of each map in the golden file


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as numbers:
        return dict(numbers)


@pytest.fixture(scope="module")
def propagator(tmp_path_factory):
    """A function from a scene to its propagator; networks of the same size share a file."""
    folder = tmp_path_factory.mktemp("cutie")

    def make(scene):
        file = folder / f"{scene.network}.pth"
        if not file.exists():
            torch.save(cutie_weights(scene.network), file)
        return Cutie(weights=str(file), device="cpu", **scene.settings)

    return make


def probabilities(propagator, scene):
    """float32 [T, H, W] of a free run, before they are rounded to bytes."""
    frames, masks = video(scene.size, scene.length)
    sweep, results = propagator.sweep(scene.size, 1), []
    for t, frame in enumerate(frames):
        out = sweep.step(Frame(t, frame), {0: masks[t]} if t in scene.references else {})
        results.append(sweep.layout.frame_sized(sweep.states[0].mask[None])[0, 0].numpy())
        if t not in scene.references:
            assert np.array_equal(np.asarray(out[0]), np.ceil(results[-1] * 255 - np.float32(0.5)).astype(np.uint8))
    return np.stack(results)


@pytest.mark.parametrize("name", SCENES)
def test_a_free_run_is_the_official_one(name, golden, propagator):
    scene = SCENES[name]
    ours = probabilities(propagator(scene), scene)[list(scene.kept)]
    theirs = golden[f"{name}_p"] / 65535
    assert np.abs(ours - theirs).max() < 1e-4
    inside, official = ours > 0.5, theirs > 0.5
    assert official.mean() > 0.1 and (inside & official).sum() >= 0.999 * (inside | official).sum()


@pytest.mark.parametrize("name", ["small", "base"])
def test_names_and_shapes_are_the_official_ones(name, golden):
    with torch.device("meta"):
        ours = {f"{k} {tuple(v.shape)}" for k, v in Network(SIZES[name]).state_dict().items()}
    unused = ("aux_computer.", "num_batches_tracked ")  # only in training, and counters of batch norms
    official = {line for line in golden[f"{name}_names"].tolist() if not any(word in line for word in unused)}
    assert ours == official


@pytest.mark.parametrize("name", ["small", "base"])
def test_intermediate_values_are_the_official_ones(name, golden, propagator):
    scene = SCENES[name]
    network, (frames, masks) = propagator(scene).model.network, video(scene.size, 2)
    layout, device = Layout.of(scene.size, 480), torch.device("cpu")
    first, second = (network.encode(layout.image(frame, device)) for frame in frames)
    mask = layout.mask(masks[0], device)[None]
    values, deep, summaries = network.memorise(first, mask, torch.zeros(1, 256, *first.size))
    query = query_side(second.keys.key, second.keys.selection)
    candidates = best_of([most_similar(query, first.keys.as_memory, 30)], [35], 30)
    readout = to_map(read_values(values[0], candidates)[0][None], first.size)
    fused = network.pixel_fuser(second.fused, readout, deep, mask)
    objects = network.object_transformer(fused, summaries)
    _, sensory = network.segment(second, readout, deep, mask, summaries, [True])
    summary = torch.cat([summaries[0].T[: CHANNELS - 1], summaries[0].T[-1:]])[..., None]
    ours = {
        "key": to_map(first.keys.key[None], first.size)[0],
        "shrinkage": to_map(first.keys.shrinkage[None], first.size)[0],
        "value": to_map(values, first.size)[0],
        "deep_sensory": deep[0],
        "summaries": summary,
        "fused": fused[0],
        "readout": objects[0],
        "sensory": sensory[0],
    }
    for key, value in ours.items():
        official = golden[f"{name}_{key}"]
        difference = np.abs(value[:CHANNELS].numpy() - official).max()
        assert difference < 1e-4 * max(1, np.abs(official).max()), key
