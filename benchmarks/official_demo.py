"""AOT and DeAOT against the official engine, on the demo clips of the official repository: masks and time per frame.

    git clone https://github.com/yoxu515/aot-benchmark CHECKOUT
    python -m benchmarks.official_demo CHECKOUT OUT [--variants aott ...] [--objects N] [--frames N] [--forced]

Both sides process each frame in turn, with the same weights, at the official default resolution. Each side remembers
its own labels; with `--forced` ours remembers the official ones. The official code is not changed. Packages that it
needs and this toolkit does not are replaced if they are not installed: torchvision, which the official code imports for
training only, by an empty module, and the compiled operator of spatial_correlation_sampler by its definition in PyTorch
(without the operator, the official AOT stops with a shape error).

Weights: no published file is used. Each tensor is drawn from its name, and the last 1x1 convolution of the decoder is
fitted to the two reference masks; without the fit, a few identities cover the whole image within three frames.

OUT receives the weights in the official layout, label maps of both sides and results.json; clips whose results are in
that file do not run again. IoU is per frame and object, for objects that have a pixel on either side.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
import types
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.propagators.inference.aot.checkpoint import load_network
from rvos_ensemble.propagators.inference.aot.object_banks import (
    merge_banks,
    most_probable,
    nearest,
    probabilities,
    split_labels,
)
from rvos_ensemble.propagators.inference.aot.tracker import Tracker
from rvos_ensemble.propagators.inference.aot.tta import Augmentation, input_size
from rvos_ensemble.propagators.networks.network import MAX_OBJECTS

VARIANTS = ("aott", "deaott", "r50_aotl", "r50_deaotl")
RIDGE = 1e-6  # regularisation of the fit, in units of the mean square of a channel
CONFIDENCE = 20  # target logit of the fit
LONG_EDGE = 1040  # pixels; 800 * 1.3 in the official configuration
TARGET = 0.999  # IoU


class Correlation(torch.nn.Module):
    """Products of each pixel with its neighbours in a square window, 0 outside the image."""

    def __init__(self, patch_size: int, **others):
        super().__init__()
        self.side = patch_size

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Two maps [B, C, H, W] to [B, n, n, H, W]."""
        (h, w), n = a.shape[-2:], self.side
        b = F.pad(b, [n // 2] * 4)
        out = a.new_empty(len(a), n, n, h, w)
        for y in range(n):
            for x in range(n):
                out[:, y, x] = (a * b[..., y : y + h, x : x + w]).sum(1)
        return out


def official_code(checkout: Path) -> types.SimpleNamespace:
    """The functions and classes of the official code that are used here."""
    sys.path.insert(0, str(checkout))
    for name, content in (
        ("torchvision.transforms.functional", {}),
        ("spatial_correlation_sampler", {"SpatialCorrelationSampler": Correlation}),
    ):
        try:
            importlib.import_module(name)
        except ImportError:
            _register_substitute(name, content)
    get = importlib.import_module
    return types.SimpleNamespace(
        config=get("configs.default").DefaultEngineConfig,
        network=get("networks.models").build_vos_model,
        engine=get("networks.engines").build_engine,
        load=get("utils.checkpoint").load_network,
        clip=get("dataloaders.eval_datasets").VOSTest,
        resize=get("dataloaders.video_transforms").MultiRestrictSize,
        to_tensor=get("dataloaders.video_transforms").MultiToTensor,
    )


def _register_substitute(name: str, content: dict) -> None:
    """Registers a module with some content, and its parents."""
    module = types.ModuleType(name)
    vars(module).update(content)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        _register_substitute(parent, {child: module})


class Official:
    """The official engine, used as in its demo."""

    def __init__(self, code: types.SimpleNamespace, variant: str, demo: Path, objects: int):
        self.code, self.demo, self.objects = code, demo, objects
        self.config = code.config("demo", variant)
        self.network = code.network(self.config.MODEL_VOS, self.config).eval()

    def load(self, path: Path) -> None:
        """Loads weights with the official loader."""
        self.network, ignored = self.code.load(self.network, path)
        if ignored:
            raise RuntimeError(f"the official loader has ignored {ignored}")

    def frames(self, name: str) -> Iterator[tuple[np.ndarray, Tensor, Tensor | None]]:
        """(image uint8 [H, W, 3] RGB, official input [1, 3, h, w], labels [1, 1, H, W] of the first frame)."""
        images = sorted(p.name for p in (self.demo / "images" / name).iterdir())
        folders = str(self.demo / "images"), str(self.demo / "masks")
        clip = self.code.clip(*folders, name, images, [Path(images[0]).stem + ".png"])
        c = self.config
        resize = self.code.resize(
            c.TEST_MAX_SHORT_EDGE, c.TEST_MAX_LONG_EDGE, c.TEST_FLIP, c.TEST_MULTISCALE, c.MODEL_ALIGN_CORNERS
        )
        for t in range(len(clip)):
            sample = self.code.to_tensor()(resize(clip[t]))[0]
            labels = sample.get("current_label")
            if labels is not None:
                labels = labels[None].float()
                labels = torch.where(labels <= self.objects, labels, 0)
            image = cv2.imread(str(self.demo / "images" / name / images[t]))[..., ::-1]
            yield np.ascontiguousarray(image), sample["current_img"][None], labels

    def reference(self, image: Tensor, labels: Tensor) -> None:
        """Starts a new engine with a reference frame: input [1, 3, h, w] and labels [1, 1, H, W]."""
        self.engine = self.code.engine(
            self.config.MODEL_ENGINE,
            phase="eval",
            aot_model=self.network,
            gpu_id=-1,
            long_term_mem_gap=self.config.TEST_LONG_TERM_MEM_GAP,
            short_term_mem_skip=self.config.TEST_SHORT_TERM_MEM_SKIP,
        )
        labels = F.interpolate(labels, size=image.shape[2:], mode="nearest")
        self.engine.add_reference_frame(image, labels, frame_step=0, obj_nums=[int(labels.max())])

    def step(self, image: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Processes a frame: (labels [H, W], the probabilities [1 + objects, H, W] whose argmax they are)."""
        self.engine.match_propogate_one_frame(image)
        logits = self.engine.decode_current_logits(size)
        p = torch.softmax(logits, 1)
        labels = torch.argmax(p, 1, keepdim=True).float()
        self.engine.update_memory(F.interpolate(labels, size=self.engine.input_size_2d, mode="nearest"))
        p = p if len(self.engine.aot_engines) == 1 else logits.sigmoid()  # as in the official soft aggregation
        return labels[0, 0], p[0, : self.engine.obj_nums + 1]


class Ours:
    """Our tracker on label maps with any number of objects."""

    def __init__(self, path: Path):
        self.network = load_network(path)

    def image(self, image: np.ndarray) -> Tensor:
        """The input [1, 3, h, w] from an image uint8 [H, W, 3]."""
        size = input_size(image.shape[:2], LONG_EDGE, 1.0, self.network.variant.align_corners)
        return Augmentation(size).apply(image)

    def reference(self, image: Tensor, labels: Tensor) -> None:
        """Starts a new tracker with a reference frame: input [1, 3, h, w] and labels [1, 1, H, W]."""
        self.objects = int(labels.max())
        parts, counts = split_labels(nearest(labels[0], image.shape[2:])[0].long(), self.objects)
        self.tracker = Tracker(self.network, self.network.variant.memory_gap)
        self.tracker.reference(self.network.encode(image), parts, range(len(parts)), counts)

    def step(self, image: Tensor, size: tuple[int, int], remembered: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `Official.step`; `remembered` are labels [H, W] to remember instead of its own."""
        logits = self.tracker.step(self.network.encode(image))
        p = merge_banks(probabilities(logits, size, self.network.variant.align_corners))
        labels = most_probable(p[None])[0]
        small = nearest((labels if remembered is None else remembered)[None], image.shape[2:])[0]
        self.tracker.update(split_labels(small.long(), self.objects)[0])
        return labels, p


def seeded(key: str, shape: tuple[int, ...]) -> Tensor:
    """A random tensor whose seed is its name; normally distributed, scaled so that activations keep their magnitude."""
    bank = key == "patch_wise_id_bank.weight"  # constant over a patch: otherwise one pixel of noise becomes thousands
    n = np.random.RandomState(zlib.crc32(f"1:{key}".encode())).standard_normal((*shape[:2], 1, 1) if bank else shape)
    if bank:
        n = np.broadcast_to(n / np.prod(shape[2:]), shape)
    elif key.endswith("running_var"):
        n = 1 + 0.2 * np.abs(n)
    elif key.endswith("running_mean"):
        n = 0.1 * n
    elif "relative_emb_v" in key:
        n = 0.5 * n
    elif len(shape) >= 2:
        n = n / np.sqrt(np.prod(shape[1:]))
    else:
        n = 1 + 0.1 * n if key.endswith("weight") else 0.05 * n
    return torch.from_numpy(n.astype(np.float32))


def write_weights(official: Official, path: Path) -> None:
    """Writes seeded weights with a fitted last layer, in the official layout."""
    network = official.network
    network.load_state_dict({k: seeded(k, tuple(v.shape)) for k, v in network.state_dict().items()})
    fit_readout(official)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}, "optimizer": {}}, path)


def fit_readout(official: Official) -> None:
    """Fits the last layer of the decoder to the reference masks by ridge regression, on its inputs one frame later."""
    readout, seen = official.network.decoder.conv_out, []
    hook = readout.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0][0].flatten(1)))
    left, right = 0, 0
    for name in clips(official.demo):
        _, image, labels = next(official.frames(name))
        official.reference(image, labels)
        official.engine.match_propogate_one_frame(image)
        seen.clear()
        official.engine.decode_current_logits()
        h, w = official.engine.aot_engines[0].pred_id_logits.shape[2:]
        parts, _ = split_labels(nearest(labels[0], (h, w))[0].long(), int(labels.max()))
        for x, part in zip(seen, parts, strict=True):
            x = torch.cat([x, torch.ones(1, h * w)]).double()
            y = F.one_hot(part.flatten(), MAX_OBJECTS + 1).double()
            weight = y.sum(0).clamp(min=300)[part.flatten()] ** -0.5  # gives small objects more weight
            left, right = left + (x * weight) @ x.T, right + (x * weight) @ y
    hook.remove()
    solution = torch.linalg.solve(left + RIDGE * left.trace() / len(left) * torch.eye(len(left)), CONFIDENCE * right)
    readout.weight.copy_(solution[:-1].T[..., None, None])
    readout.bias.copy_(solution[-1])


def compare(official: Official, ours: Ours, name: str, frames: int, forced: bool, out: Path) -> dict:
    """Runs a clip on both sides, frame by frame in turn, and returns the figures that `report` prints."""
    rows, same = [], True
    for t, (picture, image, labels) in enumerate(official.frames(name)):
        if t == frames:
            break
        own, size = ours.image(picture), picture.shape[:2]
        if labels is not None:
            objects = int(labels.max())
            official.reference(image, labels)
            ours.reference(own, labels)
            continue
        if t % 2 and not forced:
            (b, q), mine = timed(ours.step, own, size)
            (a, p), theirs = timed(official.step, image, size)
        else:
            (a, p), theirs = timed(official.step, image, size)
            (b, q), mine = timed(ours.step, own, size, a if forced else None)
        y, x = torch.nonzero(a != b).T
        row = {"t": t, "official": theirs, "ours": mine, "pixels": len(y), "objects": per_object(a, b, objects)}
        row["input"] = float((own - image).abs().max())
        if same:  # both sides have had the same memory so far
            row["noise"] = float((p - q[: len(p)]).abs().max())
            row["gap"] = float((p[a[y, x].long(), y, x] - p[b[y, x].long(), y, x]).max()) if len(y) else 0.0
        same = same and not len(y)
        rows.append(row)
        for side, map_ in (("official", a), ("ours", b)):
            (out / side / name).mkdir(parents=True, exist_ok=True)
            (out / side / name / f"{t:05d}.png").write_bytes(png.encode_indices(map_.numpy().astype(np.uint8)))
    return {"count": objects, "size": list(image.shape[2:]), "rows": rows}


def timed(step: Callable, *inputs) -> tuple[tuple[Tensor, Tensor], float]:
    """(result, seconds) of a call."""
    start = time.perf_counter()
    return step(*inputs), time.perf_counter() - start


def per_object(a: Tensor, b: Tensor, objects: int) -> dict[str, tuple[float, int]]:
    """{object: (IoU, pixels in either)} of two label maps, for objects that have a pixel in either."""
    n = objects + 1
    count = torch.bincount((a.long() * n + b.long()).flatten(), minlength=n * n).view(n, n)
    both, either = count.diagonal(), count.sum(0) + count.sum(1) - count.diagonal()
    return {str(k): (float(both[k] / either[k]), int(either[k])) for k in range(1, n) if either[k]}


def report(variant: str, name: str, result: dict) -> str:
    """A few lines about the result of `compare`."""
    rows = result["rows"]
    ious = [pair for row in rows for pair in row["objects"].values()]
    theirs, mine = (np.mean([row[side] for row in rows]) for side in ("official", "ours"))
    first, pixels = next((row for row in rows if row["pixels"]), None), [row["pixels"] for row in rows]
    (h, w), last = result["size"], len(rows[-1]["objects"])
    lines = [
        f"{variant}, {name}: {len(rows)} frames, {result['count']} objects ({last} at the end), input {h}x{w}",
        *(f"  IoU, {what:33} {iou_line(values)}" for what, values in groups(ious).items()),
        f"  pixels that differ: {sum(pixels)}, at most {max(pixels)} per frame; "
        f"inputs differ by {max(row['input'] for row in rows):.0e}",
        f"  s/frame: official {theirs:.2f}, ours {mine:.2f}, ratio {theirs / mine:.2f}",
    ]
    if first:
        lines.append(
            f"  first at frame {first['t']}: {first['pixels']} pixels, whose two largest probabilities differ by "
            f"at most {first['gap']:.0e}; the probabilities of both sides differ by at most {first['noise']:.0e}"
        )
    return "\n".join(lines)


def groups(ious: list[tuple[float, int]]) -> dict[str, list[float]]:
    """IoU of all objects, and of those so large that a single pixel does not move their IoU below 0.999.

    Args:
        ious: (IoU, pixels on either side) of objects.
    """
    return {
        "all objects": [iou for iou, _ in ious],
        "objects of at least 1000 pixels": [iou for iou, area in ious if area >= 1000],
    }


def iou_line(values: list[float]) -> str:
    """Minimum, mean and the number of IoU below the target."""
    below = sum(value < TARGET for value in values)
    return f"min {min(values):.6f} mean {np.mean(values):.6f}, {below} of {len(values)} below {TARGET}"


def clips(demo: Path) -> list[str]:
    """Names of the demo clips."""
    return sorted(p.name for p in (demo / "images").iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--variants", nargs="+", default=VARIANTS)
    parser.add_argument("--objects", type=int, default=255, help="use only object ids up to this one")
    parser.add_argument("--frames", type=int, default=10**6)
    parser.add_argument("--forced", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    code, demo = official_code(options.checkout.resolve()), options.checkout / "datasets" / "Demo"
    file = options.out / "results.json"
    results = json.loads(file.read_text()) if file.is_file() else {}
    for variant in options.variants:
        official = Official(code, variant, demo, options.objects)
        path = options.out / "weights" / f"{variant}.pth"
        if not path.is_file():
            write_weights(official, path)
        official.load(path)
        ours = Ours(path)
        for name in clips(demo):
            key = f"{variant} {name} {options.objects} {options.frames} {options.forced}"
            if key not in results:
                folder = options.out / f"{variant}_{options.objects}{'_forced' * options.forced}"
                results[key] = compare(official, ours, name, options.frames, options.forced, folder)
                file.with_suffix(".part").write_text(json.dumps(results))
                os.replace(file.with_suffix(".part"), file)
            print(report(variant, name, results[key]), flush=True)


if __name__ == "__main__":
    main()
