"""Accuracy of the shipped grounding networks: how often they select the right tracklet, on the test split of `shapes`.

    python -m benchmarks.grounding [--weights NAME ...] [--seeds 0 1 2] [--clips 40]

Tracklets are simulated as for training: true objects with errors, and distractors. Chance is 1 / number of tracklets.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.networks.grounding.variants import VARIANTS
from rvos_ensemble.adapters.training.grounding.task import DEFAULTS, GroundingTask, TrackletClips

SHIPPED = ("grounding_nano", "grounding_nano_1", "grounding_match_nano")
AS_TRAINED = {"size": [90, 160], "looks": 3, "sentences": 12}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", default=SHIPPED)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--clips", type=int, default=40, help="per seed")
    options = parser.parse_args()
    print("| weights | accuracy | by seed | chance |\n|---|---|---|---|")
    for weights in options.weights:
        checkpoint = open_checkpoint(weights, "grounding")
        network = checkpoint.network()
        name = next(name for name, variant in VARIANTS.items() if variant == checkpoint.variant)
        task = GroundingTask({**defaults_of(DEFAULTS), **AS_TRAINED, "variant": name, "held_out": options.clips})
        metrics = []
        for seed in options.seeds:
            task.held_out = TrackletClips(task, seed, "test")
            with torch.no_grad():
                metrics.append(task.validate(network))
        accuracy = np.array([m["Accuracy"] for m in metrics])
        chance = np.mean([m["Chance"] for m in metrics])
        seeds = ", ".join(f"{a:.3f}" for a in accuracy)
        print(f"| {weights} | {accuracy.mean():.3f} ± {accuracy.std():.3f} | {seeds} | {chance:.2f} |", flush=True)


if __name__ == "__main__":
    main()
