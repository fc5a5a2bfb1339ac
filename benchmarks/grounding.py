"""How often the shipped grounding networks choose the right tracklet, on clips of `shapes` that no training saw.

    python -m benchmarks.grounding [--weights NAME ...] [--seeds 0 1 2] [--clips 40]

Tracklets are those of the training: true objects with errors, and distractors. Chance is 1 / number of tracklets.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.adapters.networks.grounding import VARIANTS, open_grounding
from rvos_ensemble.adapters.training.grounding import DEFAULTS, GroundingTrainee, Items

SHIPPED = ("grounding_nano", "grounding_nano_1", "grounding_match_nano")
AS_TRAINED = {"size": [90, 160], "looks": 3, "sentences": 12}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", default=SHIPPED)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--clips", type=int, default=40, help="of each seed")
    options = parser.parse_args()
    print("| weights | accuracy | by seed | chance |\n|---|---|---|---|")
    for weights in options.weights:
        network, variant = open_grounding(weights)
        name = next(name for name, known in VARIANTS.items() if known == variant)
        learner = GroundingTrainee({**defaults_of(DEFAULTS), **AS_TRAINED, "variant": name, "held_out": options.clips})
        found = []
        for seed in options.seeds:
            learner.held_out = Items(learner, seed, "test")
            with torch.no_grad():
                found.append(learner.validate(network))
        accuracy = np.array([f["Accuracy"] for f in found])
        chance = np.mean([f["Chance"] for f in found])
        seeds = ", ".join(f"{a:.3f}" for a in accuracy)
        print(f"| {weights} | {accuracy.mean():.3f} ± {accuracy.std():.3f} | {seeds} | {chance:.2f} |", flush=True)


if __name__ == "__main__":
    main()
