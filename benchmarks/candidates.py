"""How many objects the candidates of weights include, how well, and how long a frame takes.

    python -m benchmarks.candidates WEIGHTS FOLDER [--collages 24] [--short-side 288]

FOLDER is in the layout of YouTube-VOS or DAVIS, such as REAL/val/valid of `benchmarks.real_data`. The middle frame of
each video is used as it is, and in collages with objects of the other videos.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.networks.candidates.selection import select
from rvos_ensemble.adapters.training.candidates.validation import COUNTS, collages, measures, middle_frames

MEASURES = {"IoU": "mean best IoU", "R50": "recall at 0.5", "R70": "recall at 0.7"}
FRAMES = 5  # that are timed
THRESHOLD = 0.05  # of the adapter `objects`


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="a file of `train candidates`, or the name of weights of this package")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--collages", type=int, default=24)
    parser.add_argument("--short-side", type=int, help="of the input; default: as the network was trained")
    options = parser.parse_args()
    network = open_checkpoint(options.weights, "candidates").network()
    if options.short_side:
        network.short_side.fill_(options.short_side)
    real = middle_frames(options.folder)
    print("| frames | objects found by | " + " | ".join(f"{count} candidates" for count in COUNTS) + " |")
    print("|---|---|" + "---|" * len(COUNTS))
    for name, frames in {"as they are": real, "collages": collages(real, options.collages)}.items():
        found = measures(network, frames)
        for key, words in MEASURES.items():
            print(
                f"| {name} ({len(frames)}) | {words} | "
                + " | ".join(f"{found[f'{key}@{n}']:.3f}" for n in COUNTS)
                + " |"
            )
    image = real[0].images[0]
    size = network.input_size(image.shape[:2])
    started = time.process_time()
    for _ in range(FRAMES):
        cells = network(preprocess.shrink(image, size, "torchvision")[None])
        select(network, cells, 0, COUNTS[-1], THRESHOLD)
    seconds = (time.process_time() - started) / FRAMES
    print(f"{seconds:.3f} CPU seconds per frame of {image.shape[1]}x{image.shape[0]}, input {size[1]}x{size[0]}")


if __name__ == "__main__":
    main()
