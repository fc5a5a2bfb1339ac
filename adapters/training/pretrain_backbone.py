"""Pre-training of a small backbone on `shapes`, in place of ImageNet: which shape, colour and pattern has this thing?

Every thing of a frame is cut out with some of what is around it, and told by the features of its own pixels. In whole
frames things are small and sentences few, and a backbone that starts from nothing learns colours there and next to
nothing else; on things cut out it learns all three in minutes. Segmenters start from it by `pretrained`:

    python run_ensemble.py train backbone=resnet_nano       # or convnext_nano, of UNINEXT
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import choice
from rvos_ensemble.adapters.datasets.shapes.levels import SPLITS
from rvos_ensemble.adapters.datasets.shapes.render import draw
from rvos_ensemble.adapters.datasets.shapes.scenes import compose
from rvos_ensemble.adapters.datasets.shapes.things import COLOURS, COLUMN, PATTERNS, SHAPES
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.weights import mismatches, read_weights
from rvos_ensemble.adapters.networks.backbones.backbone import BODIES
from rvos_ensemble.adapters.networks.uninext import uninext
from rvos_ensemble.adapters.training.loop import loop
from rvos_ensemble.adapters.training.loop.settings import FILE
from rvos_ensemble.adapters.training.loop.task import TrainingTask
from rvos_ensemble.adapters.training.norms import unfreeze_norms, without_counts
from rvos_ensemble.adapters.training.samples.samples import ENDLESS

DEFAULTS: dict[str, Any] = {
    "data": choice("shapes"),  # rendered on the fly; there is no other
    "pretrained": FILE,  # a file of such a training to go on from
    "steps": loop.DEFAULTS["steps"].at(2000),
    "batch": loop.DEFAULTS["batch"].at(16),  # frames, all of whose things are cut out
    "lr": loop.DEFAULTS["lr"].at(3e-3),
    "clip": loop.DEFAULTS["clip"].at(1.0),
    "ema": loop.DEFAULTS["ema"].at(0.03),
    "seed": loop.DEFAULTS["seed"],
}
KINDS = {"shape": SHAPES, "colour": tuple(COLOURS), "pattern": PATTERNS}  # words that exclude each other
PICTURE = (180, 320)  # size of frames
SIDE = 48  # of what is cut out, pixels, as the backbone sees it
AROUND = (1.1, 2.0)  # side of what is cut out over that of the thing
LEAST = 100  # pixels of a thing that are seen
NAMES = {"resnet_nano": "backbone.0.body.", "convnext_nano": "detr.detr.backbone.0.backbone."}  # in the networks

CutOut = tuple[Tensor, Tensor, list[int]]


class CutOuts(Dataset):
    """The things of one frame, each cut out: a list of (picture [3, S, S], whether it covers a pixel [S, S], word of
    each kind). Sample i depends on the arguments and i alone.

    Args:
        seed: another seed, other frames.
        split: "train", "val" or "test"; no frame of one is in another.
    """

    def __init__(self, seed: int, split: str = "train"):
        self.seed, self.split = seed, split

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> list[CutOut]:
        rng = np.random.default_rng([SPLITS.index(self.split), self.seed, index])
        scene = compose(self.split, self.seed, index)
        (picture,) = draw(scene, rng.random(1), PICTURE)
        things = [thing.look for thing in scene.things if thing.look.shape != COLUMN]
        found = []
        for k, look in enumerate(things, 1):
            mask = picture.ids == k
            if mask.sum() >= LEAST:
                words = (look.shape, look.colour, look.pattern)
                numbers = [kind.index(word) for kind, word in zip(KINDS.values(), words, strict=True)]
                found.append((*_cut(picture.image, mask, rng), numbers))
        return found


def _cut(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A square of random place and size about a thing, brought to SIDE pixels: picture and mask."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    side = round(extent * rng.uniform(*AROUND))
    top, left = (round((x[0] + x[-1] + 1 - side) / 2 + rng.uniform(-0.1, 0.1) * extent) for x in (rows, columns))
    h, w = mask.shape
    beyond = [max(0, -top), max(0, top + side - h), max(0, -left), max(0, left + side - w)]

    def part(x: np.ndarray, border: int) -> np.ndarray:
        x = x[max(0, top) : top + side, max(0, left) : left + side]
        return cv2.copyMakeBorder(x, *beyond, border)

    square = preprocess.shrink(part(image, cv2.BORDER_REPLICATE), (SIDE, SIDE), "torchvision")
    cover = part(mask.astype(np.float32), cv2.BORDER_CONSTANT)
    return square, torch.from_numpy(cv2.resize(cover, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


class Teller(nn.Module):
    """A backbone, and what it says of a thing from its features in the thing's pixels.

    Args:
        backbone: a key of `NAMES`.
    """

    def __init__(self, backbone: str):
        super().__init__()
        self.body = BODIES[backbone]() if backbone in BODIES else uninext.BACKBONES[backbone]()
        self.head = nn.Linear(sum(self.body.channels), sum(map(len, KINDS.values())))

    def forward(self, pictures: Tensor, cover: Tensor) -> list[Tensor]:
        """Pictures [N, 3, S, S] and masks [N, S, S] to logits [N, words] of each kind."""
        pooled = []
        for x in self.body(pictures):
            share = F.interpolate(cover[:, None], x.shape[-2:], mode="area")
            pooled.append((x * share).sum((2, 3)) / share.sum((2, 3)).clamp(min=1e-6))
        return list(self.head(torch.cat(pooled, 1)).split([len(words) for words in KINDS.values()], 1))


def trainee(name: str, settings: Mapping[str, Any], score: Callable | None = None) -> Looks:
    """The training that settings describe.

    Args:
        name: of the backbone, a key of `NAMES`.
        settings: values for `DEFAULTS`.
        score: not needed: what is told right is counted.

    Raises:
        InputError: unknown settings, other data than `shapes`, or weights of another backbone.
    """
    s = merge_settings(DEFAULTS, dict(settings), f"train backbone={name}")
    return Looks(name, s["seed"], s["pretrained"])


class Looks(TrainingTask):
    """The pre-training of one backbone.

    Args:
        backbone: a key of `NAMES`.
        seed: of first weights and samples.
        pretrained: a file of such a training to go on from.
    """

    def __init__(self, backbone: str, seed: int = 0, pretrained: str | None = None):
        self.backbone, self.clips, self.held_out = backbone, CutOuts(seed), CutOuts(0, "val")
        torch.manual_seed(seed)
        self.network = Teller(backbone)
        if pretrained:
            start = NAMES[backbone]
            found = {k.removeprefix(start): v for k, v in read_weights(pretrained, "a backbone").items()}
            if problems := mismatches(found, {k: tuple(v.shape) for k, v in self.network.body.state_dict().items()}):
                raise InputError([f"{pretrained}: {problem}" for problem in problems])
            self.network.body.load_state_dict(found)
        unfreeze_norms(self.network)

    def samples(self) -> Dataset:
        return self.clips

    def collate(self, samples: list[list[CutOut]]) -> dict[str, Tensor]:
        pictures, covers, words = zip(*(cut for one in samples for cut in one), strict=True)
        return {"pictures": torch.stack(pictures), "cover": torch.stack(covers), "words": torch.tensor(words)}

    def losses(self, batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        said = self.network(batch["pictures"], batch["cover"])
        return {k: F.cross_entropy(x, batch["words"][:, i]) for i, (k, x) in enumerate(zip(KINDS, said, strict=True))}

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Share of the things of 100 held-out frames that are told right, by kind."""
        batch = self.collate([self.held_out[i] for i in range(100)])
        device = next(network.parameters()).device
        said = network(batch["pictures"].to(device), batch["cover"].to(device))
        right = [(x.argmax(1).cpu() == batch["words"][:, i]).float().mean() for i, x in enumerate(said)]
        return {kind.capitalize(): share.item() for kind, share in zip(KINDS, right, strict=True)}

    def checkpoint(self, state: dict[str, Tensor]) -> dict[str, Any]:
        own = {k.removeprefix("body."): v for k, v in without_counts(state).items() if k.startswith("body.")}
        return {"model": {NAMES[self.backbone] + k: v for k, v in own.items()}}
