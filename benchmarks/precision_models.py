"""Segmenters in bfloat16 (autocast) against float32: J&F, and how far the masks agree.

    python -m benchmarks.precision_models [--shapes 8 --seeds 0 1] [--seeded soc mutr referformer] [--frames 3]

The shipped weights run on clips of `shapes`, test split, as `adapter: NAME` in a recipe. `--seeded` networks have the
architecture of the published checkpoints and seeded random weights, and see a drawn clip of 720x1280 at the size of the
official scripts; random masks leave most pixels without a clear winner, so that their IoU is a lower bound. Products
are computed as in `benchmarks.precision_jf`.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import nullcontext

import numpy as np
import torch

from benchmarks import rvos_models
from benchmarks.precision_jf import products
from rvos_ensemble import adapters
from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import find
from rvos_ensemble.adapters.datasets.shapes import Shapes
from rvos_ensemble.adapters.networks.text import ROBERTA, encode
from rvos_ensemble.ensemble.metrics.bootstrap import paired_interval
from rvos_ensemble.ensemble.metrics.jf import j_and_f

SHIPPED = ("soc", "mutr", "referformer", "uninext", "urvos")


def shipped(name: str, clips: list[Clip]) -> None:
    """Prints J&F of shipped weights in both precisions, and the IoU of their masks."""
    made = {
        p: find(name, Adapter, adapters, "rvos_ensemble.adapters")(weights=f"{name}_nano", precision=p, device="cpu")
        for p in ("fp32", "bf16")
    }
    scores, differences, ious = {"fp32": [], "bf16": []}, {}, []
    for clip in clips:
        found = {}
        for p, adapter in made.items():
            with products(p):
                prediction = adapter.predict(clip)
                found[p] = {e: np.stack([s.mask(t) for t in range(len(clip))]) for e, s in prediction.items()}
        for e in clip.expressions:
            truth = clip.truth.read(e.id)
            true = np.stack([truth.mask(t) for t in range(len(clip))])
            full, low = (100 * float(np.mean(j_and_f(found[p][e.id], true))) for p in ("fp32", "bf16"))
            scores["fp32"].append(full)
            scores["bf16"].append(low)
            differences.setdefault(clip.name, []).append(low - full)
            ious += rvos_models.iou(found["fp32"][e.id], found["bf16"][e.id]).tolist()
    full, low = (np.mean(scores[p]) for p in ("fp32", "bf16"))
    a, b = paired_interval(differences)
    print(
        f"| {name}_nano | {len(scores['fp32'])} | {full:.2f} | {low:.2f} | {low - full:+.2f} | {a:+.2f} to {b:+.2f} "
        f"| {np.mean(ious):.4f} | {np.mean(np.array(ious) == 1):.0%} |",
        flush=True,
    )


def seeded(model: str, frames: int) -> None:
    """Prints the agreement of masks of a network of published size with random weights."""
    clip = rvos_models.normalised(rvos_models.pictures(None, frames), rvos_models.SHORT_SIDE[model])
    backbone = rvos_models.BACKBONES[model]
    network = rvos_models.build(model, backbone)
    network.fold()
    logits = {}
    for p in ("fp32", "bf16"):
        autocast = nullcontext() if p == "fp32" else torch.autocast("cpu", torch.bfloat16)
        with torch.no_grad(), autocast, products(p):
            text = encode(network.language_model, ROBERTA, rvos_models.EXPRESSIONS)
            logits[p] = network.answer(network.encode(clip, 1), text, 1).logits.float()
    ious = rvos_models.iou(*(values.flatten(0, 1).numpy() > 0 for values in logits.values()))
    error = float((logits["bf16"] - logits["fp32"]).abs().mean() / logits["fp32"].abs().mean())
    size = "x".join(map(str, clip.shape[-2:]))
    print(f"| {model} {backbone} | {size} | {error:.1%} | {ious.mean():.4f} | {np.median(ious):.4f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=int, default=8, help="clips per seed; 0 for none")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--models", nargs="*", default=SHIPPED, choices=SHIPPED)
    parser.add_argument("--seeded", nargs="*", default=[*rvos_models.NETWORKS], choices=[*rvos_models.NETWORKS])
    parser.add_argument("--frames", type=int, default=3, help="of the drawn clip")
    options = parser.parse_args()
    if options.shapes:
        print("| weights | expressions | fp32 | bf16 | difference | 95 % | IoU of frames | equal |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            clips = Shapes(root=folder, split="test", seed=options.seeds, clips=options.shapes).clips()
            for name in options.models:
                shipped(name, clips)
    if options.seeded:
        print(
            "\n| random weights | input | error of logits | IoU of frames | median |\n|---|---|---|---|---|", flush=True
        )
        for model in options.seeded:
            seeded(model, options.frames)


if __name__ == "__main__":
    main()
