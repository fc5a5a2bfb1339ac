"""Accuracy of grounding networks: how often they select the right tracklet, on the test split of `shapes`.

    python -m benchmarks.grounding [--weights NAME_OR_FILE ...] [--seeds 0 1 2] [--clips 40]

Tracklets are simulated as for training: true objects with errors, and distractors. Chance is 1 / number of tracklets.
Networks with encoders of transformers read the sentences with the tokenizer of their checkpoint.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.adapters.training.grounding.task import DEFAULTS, GroundingTask, TrackletClips
from rvos_ensemble.ensemble.steps.parts.grounder import Member

SHIPPED = ("grounding_nano", "grounding_nano_1", "grounding_match_nano")


class Trained(GroundingTask):
    """The task of a network that has been trained: its own encoders, tokenizer and size of frames.

    Args:
        weights: a checkpoint, or a name of weights of this package.
        clips: that are asked about.
    """

    def __init__(self, weights: str, clips: int):
        member = Member(weights, None, None)
        self.variant, self.tokenizer, self.network = member.variant, member.tokenizer, member.network
        side = self.variant.short_side
        own = {"size": [side, side * 16 // 9], "looks": 3, "sentences": 12, "held_out": clips}
        self.settings = {**defaults_of(DEFAULTS), **own}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", default=SHIPPED)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--clips", type=int, default=40, help="per seed")
    options = parser.parse_args()
    print("| weights | accuracy | by seed | chance |\n|---|---|---|---|")
    for weights in options.weights:
        task = Trained(weights, options.clips)
        metrics = []
        for seed in options.seeds:
            task.held_out = TrackletClips(task, seed, "test")
            with torch.no_grad():
                metrics.append(task.validate(task.network))
        accuracy = np.array([m["Accuracy"] for m in metrics])
        chance = np.mean([m["Chance"] for m in metrics])
        seeds = ", ".join(f"{a:.3f}" for a in accuracy)
        print(f"| {weights} | {accuracy.mean():.3f} ± {accuracy.std():.3f} | {seeds} | {chance:.2f} |", flush=True)


if __name__ == "__main__":
    main()
