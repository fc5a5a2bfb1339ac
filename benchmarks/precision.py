"""AOT and DeAOT in bfloat16 (float16 on a GPU) against float32: mask IoU and time per frame.

    python -m benchmarks.precision CHECKOUT OUT [--variants aott ...] [--frames N] [--precision fp16 --device cuda]

It runs on the demo clips of the official repository, with the weights that `official_demo CHECKOUT OUT` wrote. Both
sides process each frame in turn and remember the labels of the float32 side, so that the IoU of a frame is that of a
single step. For "own labels" the low precision remembers its own labels, as in a real run, in which differences
accumulate over time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.official_demo import VARIANTS, Official, Ours, clips, iou_line, official_code, per_object, write_weights
from rvos_ensemble.adapters.inference.device import PRECISIONS


class Side(Ours):
    """Our side on a device, with converted weights for any precision but fp32."""

    def __init__(self, path: Path, device: str, precision: str = "fp32"):
        super().__init__(path)
        self.device = device
        if precision != "fp32":
            self.network.lower(PRECISIONS[precision])
        self.network.to(device)
        self.seconds: list[float] = []

    def reference(self, image, labels):
        """See `Ours.reference`."""
        super().reference(image.to(self.device), labels.to(self.device))

    def step(self, image, size, remembered=None):
        """See `Ours.step`; returns the labels only, and measures the time."""
        start = time.perf_counter()
        labels, _ = super().step(image.to(self.device), size, remembered)
        labels = labels.cpu()  # waits for the device
        self.seconds.append(time.perf_counter() - start)
        return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--variants", nargs="+", default=VARIANTS)
    parser.add_argument("--frames", type=int, default=10, help="frames of each clip")
    parser.add_argument("--precision", default="bf16", choices=[p for p in PRECISIONS if p != "fp32"])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    code, demo = official_code(options.checkout.resolve()), options.checkout / "datasets" / "Demo"
    for variant in options.variants:
        official = Official(code, variant, demo, 255)
        path = options.out / "weights" / f"{variant}.pth"
        if not path.is_file():
            write_weights(official, path)
        full, low, own = (Side(path, options.device, p) for p in ("fp32", options.precision, options.precision))
        ious: dict[str, list[float]] = {"one step": [], "own labels": []}
        for name in clips(demo):
            for t, (picture, _, labels) in enumerate(official.frames(name)):
                if t == options.frames:
                    break
                image, size = full.image(picture), picture.shape[:2]
                if labels is not None:
                    objects = int(labels.max())
                    for side in (full, low, own):
                        side.reference(image, labels)
                    continue
                a = full.step(image, size)
                for key, b in {
                    "one step": low.step(image, size, a.to(options.device)),
                    "own labels": own.step(image, size),
                }.items():
                    ious[key] += [iou for iou, _ in per_object(a, b, objects).values()]
        times = [np.median(side.seconds) for side in (full, low)]
        print(f"{variant}: fp32 {times[0]:.3f} s/frame, {options.precision} {times[1]:.3f}, {times[0] / times[1]:.2f}x")
        for key, values in ious.items():
            print(f"  IoU, {key:10} {iou_line(values)}, median {np.median(values):.5f}", flush=True)


if __name__ == "__main__":
    main()
