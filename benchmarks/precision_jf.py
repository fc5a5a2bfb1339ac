"""J&F of AOT and DeAOT in bfloat16 (float16 on a GPU) against float32: `shapes` and real clips.

    python -m benchmarks.precision_jf [--shapes 32 --seeds 0 1 2] [--real FOLDER --clips 4 --every 4] [--low bf16]

FOLDER has the layout of Ref-YouTube-VOS with ground truth. The true mask of each object in the middle frame is
propagated with the weights of this package; J&F is the mean over the other frames. Intervals are 95 % bootstrap
intervals of the difference over clips.

Processors without instructions for bfloat16 take fifty times as long for its products. There, products and convolutions
of bfloat16 numbers are computed in float32 and rounded once, which is what AMX and tensor cores do, only that these add
in another order. Everything else is computed by PyTorch's own bfloat16 kernels.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from benchmarks.learned_propagators import NETWORKS, score, thinned, with_propagator
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.datasets.ref_youtube_vos import RefYoutubeVOS
from rvos_ensemble.adapters.datasets.shapes import Shapes
from rvos_ensemble.adapters.inference import precision
from rvos_ensemble.ensemble.metrics.bootstrap import paired_interval


class ProductsInFloat32(TorchDispatchMode):
    """Computes products of low-precision numbers in float32, and rounds the results."""

    products = ("mm", "addmm", "bmm", "baddbmm", "convolution", "_scaled_dot_product_flash_attention_for_cpu")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        low = next((x.dtype for x in tree_leaves(args) if isinstance(x, torch.Tensor)), torch.float32)
        if low == torch.float32 or function._opname not in self.products:
            return function(*args, **kwargs)

        def to(dtype: torch.dtype, of: torch.dtype, values: Any) -> Any:
            return tree_map(lambda x: x.to(dtype) if isinstance(x, torch.Tensor) and x.dtype == of else x, values)

        out = function(*to(torch.float32, low, args), **to(torch.float32, low, kwargs))
        return to(low, torch.float32, out)


def products(computed_in: str) -> AbstractContextManager:
    """Within it, products take a bearable time: `ProductsInFloat32` for bf16 where the CPU is slow in it."""
    slow = computed_in == "bf16" and precision.decide("cpu").precision != "bf16"
    return ProductsInFloat32() if slow else nullcontext()


def compare(what: str, weights: str, clips: list[Clip], low: str, edge: int | None) -> None:
    """Prints J&F in both precisions, the difference, and its interval."""
    scores = []
    for p in ("fp32", low):
        with products(p):
            settings = {} if edge is None else {"max_long_edge": edge}
            scores.append(score(with_propagator(NETWORKS[weights], weights, precision=p, **settings), clips)[0])
    full, rough = scores
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
    parser.add_argument("--shapes", type=int, default=4, help="clips of `shapes` per seed, test split; 0 for none")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of `shapes`")
    parser.add_argument("--real", type=Path, help="folder of real clips")
    parser.add_argument("--clips", type=int, default=4, help="of the real ones")
    parser.add_argument("--every", type=int, default=4, help="keep one frame of real clips in N")
    parser.add_argument(
        "--edge", type=int, help="longer side of the input for real clips, pixels; by default that of the propagator"
    )
    parser.add_argument("--low", default="bf16", choices=["bf16", "fp16"])
    options = parser.parse_args()
    print(f"| clips | weights | fp32 | {options.low} | difference | 95 % |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        if options.shapes:
            clips = Shapes(root=f"{folder}/shapes", split="test", seed=options.seeds, clips=options.shapes).clips()
            for weights in ("aot_nano", "deaot_nano"):
                compare("shapes", weights, clips, options.low, None)
        if options.real:
            clips = [c for c in RefYoutubeVOS(root=str(options.real), split="valid").clips() if c.expressions]
            some = [thinned(c, options.every) for c in clips[: options.clips]]
            for weights in ("aot_real", "deaot_real"):
                compare(f"real, one frame in {options.every}", weights, some, options.low, options.edge)


if __name__ == "__main__":
    main()
