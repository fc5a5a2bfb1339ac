"""J&F of AOT and DeAOT in bfloat16 (float16 on a GPU) against float32: `shapes` and real clips.

    python -m benchmarks.precision_jf [--shapes 4] [--real FOLDER --clips 4 --every 6 --edge 320] [--low bf16]

FOLDER has the layout of Ref-YouTube-VOS with ground truth. The true mask of each object in the middle frame is
propagated with the weights of this package; J&F is the mean over the other frames. Intervals are 95 % bootstrap
intervals of the difference over clips.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.learned_propagators import NETWORKS, score, thinned, with_propagator
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.datasets.ref_youtube_vos import RefYoutubeVOS
from rvos_ensemble.adapters.datasets.shapes import Shapes
from rvos_ensemble.ensemble.metrics.bootstrap import paired_interval


def compare(what: str, weights: str, clips: list[Clip], low: str, edge: int | None) -> None:
    """Prints J&F in both precisions, the difference, and its interval."""
    full, rough = (
        score(with_propagator(NETWORKS[weights], weights, precision=p, max_long_edge=edge), clips)[0]
        for p in ("fp32", low)
    )
    differences = {clip: 100 * np.subtract(rough[clip], values) for clip, values in full.items()}
    exact, other = (100 * np.mean([x for v in scores.values() for x in v]) for scores in (full, rough))
    a, b = paired_interval(differences)
    objects = sum(map(len, full.values()))
    print(
        f"| {what}, {len(clips)} clips, {objects} objects | {weights} | {exact:.2f} | {other:.2f} "
        f"| {other - exact:+.2f} | {a:+.2f} to {b:+.2f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=int, default=4, help="clips of `shapes`, test split; 0 for none")
    parser.add_argument("--real", type=Path, help="folder of real clips")
    parser.add_argument("--clips", type=int, default=4, help="of the real ones")
    parser.add_argument("--every", type=int, default=6, help="keep one frame of real clips in N")
    parser.add_argument("--edge", type=int, default=320, help="longer side of the input for real clips, pixels")
    parser.add_argument("--low", default="bf16", choices=["bf16", "fp16"])
    options = parser.parse_args()
    print(f"| clips | weights | fp32 | {options.low} | difference | 95 % |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        if options.shapes:
            clips = Shapes(root=f"{folder}/shapes", split="test", seed=[0], clips=options.shapes).clips()
            for weights in ("aot_nano", "deaot_nano"):
                compare("shapes", weights, clips, options.low, None)
        if options.real:
            clips = [c for c in RefYoutubeVOS(root=str(options.real), split="valid").clips() if c.expressions]
            some = [thinned(c, options.every) for c in clips[: options.clips]]
            for weights in ("aot_real", "deaot_real"):
                compare(f"real, one frame in {options.every}", weights, some, options.low, options.edge)


if __name__ == "__main__":
    main()
