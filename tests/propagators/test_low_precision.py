"""AOT and DeAOT with converted weights: the same network in other types, and what stays in float32."""

import numpy as np
import pytest
import torch

from rvos_ensemble.adapters.inference.checkpoints.weights import weights_file
from rvos_ensemble.propagators.aot import AOT
from rvos_ensemble.propagators.inference.aot.checkpoint import load_network
from rvos_ensemble.propagators.inference.aot.tracker import Tracker

SIZE = (65, 97)


def images(count):
    """Noise with a bright square that moves, [1, 3, h, w] each."""
    made = torch.randn(count, 1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    for t in range(count):
        made[t, ..., 15:50, 10 + 8 * t : 45 + 8 * t] = 2.0
    return made


def run(name, dtype):
    """(network, logits of two banks that start on different frames, in three frames)."""
    network = load_network(weights_file(name))
    if dtype is not None:
        network.lower(dtype)
    labels, logits = torch.zeros(1, *SIZE), []
    labels[:, 15:50, 10:45] = 1
    tracker = Tracker(network, memory_gap=1)
    with torch.no_grad():
        for t, image in enumerate(images(3)):
            features = network.encode(image)
            if t > 0:
                logits.append(tracker.step(features))
                tracker.update(labels.roll(8 * t, 2).expand(len(logits[-1]), -1, -1))  # the same in every type
            if t < 2:
                tracker.reference(features, labels.roll(8 * t, 2), [t], [1])
    return network, tracker, torch.cat(logits)


@pytest.mark.parametrize("name", ["aot_nano", "deaot_nano", "aot_real", "deaot_real"])
def test_a_converted_network_is_the_same_network(name):
    """In float64 it confirms float32, so that no operator mixes types; in bfloat16 it is as close as its rounding."""
    exact = run(name, torch.float64)[2]
    full = run(name, None)[2]
    network, tracker, low = run(name, torch.bfloat16)
    assert exact.dtype == full.dtype == low.dtype == torch.float32 and len(full) == 3
    scale = exact.std()
    assert (full - exact).abs().max() < 1e-3 * scale
    assert 0 < (low - exact).abs().mean() < 0.03 * scale
    exact_types = {k for k, v in network.named_parameters() if v.dtype == torch.float32}
    encoder = {k for k, _ in network.named_parameters() if k.startswith("encoder.")} if "real" in name else set()
    assert exact_types == {"decoder.conv_out.weight", "decoder.conv_out.bias"} | encoder
    assert {x.dtype for c in tracker.cohorts for t in c.short for x in (t.key, *t.values)} == {torch.bfloat16}


def test_the_logits_keep_more_digits_than_the_maps_before_them():
    _, _, low = run("aot_nano", torch.bfloat16)
    assert not torch.equal(low, low.bfloat16().float())


def test_models_in_two_precisions_share_frames_but_no_features(tmp_path):
    from rvos_ensemble.propagators.core.propagator import Frame

    frame = Frame(0, np.zeros((*SIZE, 3), np.uint8))
    for precision in ("fp32", "bf16"):
        sweep = AOT(weights="aot_nano", precision=precision).sweep(SIZE, 1)
        mask = np.zeros(SIZE, bool)
        mask[15:50, 10:45] = True
        sweep.step(frame, {0: mask})
    assert {f.projected.dtype for f in frame.memo.values()} == {torch.float32, torch.bfloat16}


def test_keys_of_low_precision_are_not_those_of_autocast():
    exact, low = (AOT(weights="aot_nano", precision=p).fingerprint() for p in ("fp32", "bf16"))
    assert low == f"{exact} converted"
