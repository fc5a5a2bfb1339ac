"""ReferFormer, MUTR and SOC against their official code: time, peak memory, and the masks pixel by pixel.

    git clone https://github.com/wjn922/ReferFormer CHECKOUT     (MUTR: OpenGVLab/MUTR, SOC: RobertLuo1/NeurIPS2023_SOC)
    pip install einops
    python -m benchmarks.rvos_models referformer CHECKOUT [--backbone resnet50] [--frames 5] [--pictures FOLDER]

Both sides get the same seeded weights, the same clip at the size that the official script resizes to, and the same
four expressions. Each side runs in a process of its own, so that peak memory is that of loading and running it. The
official script processes one expression at a time; ours encodes the clip once and answers all expressions together.
Masks are resized to the size of the images and thresholded as both scripts do, then compared frame by frame.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.rvos.mutr import MUTR
from rvos_ensemble.adapters.networks.rvos.referformer import ReferFormer
from rvos_ensemble.adapters.networks.rvos.rvos import RVOS
from rvos_ensemble.adapters.networks.rvos.soc import SOC
from rvos_ensemble.adapters.networks.text import ROBERTA, encode, roberta

NETWORKS: dict[str, type[RVOS]] = {"referformer": ReferFormer, "mutr": MUTR, "soc": SOC}
BACKBONES = {"referformer": "resnet50", "mutr": "resnet50", "soc": "video_swin_t_p4w7"}
SHORT_SIDE = {"referformer": 360, "mutr": 432, "soc": 360}
EXPRESSIONS = [[0, *range(10 * i + 5, 11 * i + 10), 2] for i in range(4)]  # four sentences of 7 to 10 tokens
SALT = 1  # with this seed, masks are neither empty nor full


def seeded(key: str, shape: torch.Size) -> Tensor:
    """Random weights whose seed is the tensor's name, scaled so that activations keep their magnitude."""
    drawn = np.random.default_rng(zlib.crc32(f"{SALT}:{key}".encode())).standard_normal(tuple(shape), np.float32)
    if key.endswith("running_var"):
        return torch.from_numpy(1 + 0.2 * np.abs(drawn))
    if len(shape) == 1 and (key.endswith("weight") or "gamma" in key):
        return torch.from_numpy(1 + 0.1 * drawn)
    if key.endswith("sampling_offsets.bias"):
        return torch.from_numpy(2 * drawn)
    return torch.from_numpy(drawn * np.float32(0.1 if len(shape) == 1 else math.prod(shape[1:]) ** -0.5))


def build(model: str, backbone: str) -> RVOS:
    """Our network with seeded weights."""
    network = NETWORKS[model](backbone, roberta()).requires_grad_(False)
    for key, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(seeded(key, tensor.shape))
    return network.eval()


def pictures(folder: Path | None, count: int) -> list[Image.Image]:
    """The first frames of a folder; without a folder, coloured discs that move over noise, 1280x720."""
    if folder is not None:
        return [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.jpg"))[:count]]
    noise = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    rows, columns = np.ogrid[:720, :1280]
    frames = []
    for t in range(count):
        frame = noise.copy()
        for i, colour in enumerate(((255, 60, 0), (0, 200, 80), (40, 60, 255))):
            frame[(rows - 180 * (i + 1)) ** 2 + (columns - 400 * i - 20 * t - 200) ** 2 < 120**2] = colour
        frames.append(Image.fromarray(frame))
    return frames


def normalised(frames: list[Image.Image], short_side: int) -> Tensor:
    """The input of the network as in the official scripts, [T, 3, h, w]."""
    w, h = frames[0].size
    scale = short_side / min(w, h)
    size = (short_side if w <= h else int(scale * w), short_side if h < w else int(scale * h))
    array = np.stack([np.asarray(frame.resize(size, Image.BILINEAR)) for frame in frames])
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((torch.from_numpy(array) / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()


def measure(options: argparse.Namespace) -> None:
    """Runs one side: writes masks and scores, and prints its figures."""
    torch.set_num_threads(options.threads)
    clip = normalised(pictures(options.pictures, options.frames), SHORT_SIDE[options.model])
    network = build(options.model, options.backbone)
    if options.side == "official":
        from benchmarks.official_rvos import build as official

        checkout = options.checkout.resolve()
        theirs, run = official(options.model, checkout, options.backbone, network.text_encoder, EXPRESSIONS)
        theirs.load_state_dict(network.state_dict(), strict=True)
        del network

        def ask():
            results = [run(clip, expression) for expression in EXPRESSIONS]
            return [torch.stack(part) for part in zip(*results, strict=True)]
    else:
        network.fold()

        def ask():
            features = network.encode(clip, options.frames_per_step)
            text = encode(network.language_model, ROBERTA, EXPRESSIONS)
            answer = network.answer(features, text, options.frames_per_step)
            best = answer.query_scores.amax(1)[:, None].expand(-1, len(clip))
            return answer.logits, best if answer.scores is None else answer.scores

    wall, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        logits, scores = ask()
    figures = {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "input": tuple(clip.shape[-2:]),
    }
    np.savez(options.output, logits=logits.numpy(), scores=scores.numpy())
    print(json.dumps(figures))


def binary(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Masks as the scripts write them, bool [T, H, W]."""
    resized = F.interpolate(torch.from_numpy(logits)[None], size, mode="bilinear", align_corners=False)
    return (resized.sigmoid() > 0.5)[0].numpy()


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of every frame of two mask sequences, bool [T, H, W]; 1 where both are empty."""
    union = (a | b).sum((1, 2))
    return np.where(union > 0, (a & b).sum((1, 2)) / np.maximum(union, 1), 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=NETWORKS)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--backbone")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--frames-per-step", type=int, default=1)
    parser.add_argument("--pictures", type=Path, help="a folder of JPEG files instead of drawn frames")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", choices=("official", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.backbone = options.backbone or BACKBONES[options.model]
    if options.side:
        measure(options)
        return
    figures, results = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for side in ("official", "ours"):
            output = str(Path(folder) / f"{side}.npz")
            arguments = [*sys.argv[1:], "--side", side, "--output", output]
            command = [sys.executable, "-m", "benchmarks.rvos_models", *arguments]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            figures[side] = json.loads(done.stdout.splitlines()[-1])
            results[side] = dict(np.load(output))
    theirs, ours = figures["official"], figures["ours"]
    h, w = ours["input"]
    print(f"{options.model} {options.backbone}: {options.frames} frames of {w}x{h}, {len(EXPRESSIONS)} expressions")
    for side, f in figures.items():
        print(f"  {side:9s} {f['wall']:7.1f} s, {f['cpu']:7.1f} CPU s, peak {f['peak']:.2f} GB")
    print(f"  {theirs['wall'] / ours['wall']:.1f} times as fast, {ours['peak'] / theirs['peak']:.0%} of the memory")
    a, b = results["official"]["logits"], results["ours"]["logits"]
    error = np.abs(a - b).max() / np.abs(a).max()
    size = pictures(options.pictures, 1)[0].size[::-1]
    ious, share = [], []
    for x, y in zip(a, b, strict=True):
        x, y = binary(x, size), binary(y, size)
        share.append(x.mean((1, 2)))
        ious.append(iou(x, y))
    scores = np.abs(results["official"]["scores"] - results["ours"]["scores"]).max()
    print(f"  logits differ by {error:.1e} of the largest value, scores by {scores:.1e}")
    print(
        f"  masks at {size[1]}x{size[0]}: IoU per frame {np.min(ious):.5f} or more, mean {np.mean(ious):.6f}; ", end=""
    )
    print(f"they cover {np.min(share):.1%} to {np.max(share):.1%} of a frame")


if __name__ == "__main__":
    main()
