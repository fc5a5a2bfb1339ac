"""Pre-training of a small backbone on `shapes`, in place of ImageNet: classifies shape, colour and pattern of objects.

Every object of a frame is cropped with some of its surroundings and classified from the features of its own pixels. In
whole frames objects are small and expressions few, and a backbone trained from scratch there learns colours and little
else; on crops it learns all three attributes within minutes. Segmenters start from it with `pretrained`:

    python run_ensemble.py train backbone=resnet_nano       # or convnext_nano, for UNINEXT
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
from rvos_ensemble.adapters.inference.checkpoints.weights import mismatches, read_weights
from rvos_ensemble.adapters.networks.backbones.backbone import BODIES
from rvos_ensemble.adapters.networks.uninext import uninext
from rvos_ensemble.adapters.training.loop import settings as common
from rvos_ensemble.adapters.training.loop.task import TrainingTask
from rvos_ensemble.adapters.training.norms import unfreeze_norms, without_counts
from rvos_ensemble.adapters.training.samples.sample import ENDLESS

DEFAULTS: dict[str, Any] = {
    "data": choice("shapes"),  # rendered on the fly; other data have no such labels
    "pretrained": common.FILE,  # initial weights from an earlier run
    "steps": common.DEFAULTS["steps"].at(2000),
    "batch": common.DEFAULTS["batch"].at(16),  # frames; all of their objects are cropped
    "lr": common.DEFAULTS["lr"].at(3e-3),
    "clip": common.DEFAULTS["clip"].at(1.0),
    "ema": common.DEFAULTS["ema"].at(0.03),
    "seed": common.DEFAULTS["seed"],
}
ATTRIBUTES = {"shape": SHAPES, "colour": tuple(COLOURS), "pattern": PATTERNS}  # the classes of each attribute
FRAME_SIZE = (180, 320)
SIDE = 48  # size of a resized crop in pixels
MARGIN = (1.1, 2.0)  # range of the side of a crop relative to the object
MIN_PIXELS = 100  # visible pixels of an object that is used
PREFIXES = {"resnet_nano": "backbone.0.body.", "convnext_nano": "detr.detr.backbone.0.backbone."}  # in the networks
VALIDATION_FRAMES = 100

ObjectCrop = tuple[Tensor, Tensor, list[int]]


class ObjectCrops(Dataset):
    """The crops of all objects of one frame: a list of (image [3, S, S], mask [S, S], class of each attribute).

    Sample i depends on the arguments and on i alone.

    Args:
        seed: another seed gives other frames.
        split: "train", "val" or "test"; the splits share no frame.
    """

    def __init__(self, seed: int, split: str = "train"):
        self.seed, self.split = seed, split

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> list[ObjectCrop]:
        rng = np.random.default_rng([SPLITS.index(self.split), self.seed, index])
        scene = compose(self.split, self.seed, index)
        (picture,) = draw(scene, rng.random(1), FRAME_SIZE)
        objects = [thing.appearance for thing in scene.things if thing.appearance.shape != COLUMN]
        crops = []
        for k, look in enumerate(objects, 1):
            mask = picture.ids == k
            if mask.sum() >= MIN_PIXELS:
                words = (look.shape, look.colour, look.pattern)
                classes = [known.index(word) for known, word in zip(ATTRIBUTES.values(), words, strict=True)]
                crops.append((*_crop(picture.image, mask, rng), classes))
        return crops


def _crop(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A square of random place and size around an object, resized to `SIDE` pixels: image and mask."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    side = round(extent * rng.uniform(*MARGIN))
    top, left = (round((x[0] + x[-1] + 1 - side) / 2 + rng.uniform(-0.1, 0.1) * extent) for x in (rows, columns))
    h, w = mask.shape
    padding = [max(0, -top), max(0, top + side - h), max(0, -left), max(0, left + side - w)]

    def cut(x: np.ndarray, border: int) -> np.ndarray:
        x = x[max(0, top) : top + side, max(0, left) : left + side]
        return cv2.copyMakeBorder(x, *padding, border)

    square = preprocess.shrink(cut(image, cv2.BORDER_REPLICATE), (SIDE, SIDE), "torchvision")
    cover = cut(mask.astype(np.float32), cv2.BORDER_CONSTANT)
    return square, torch.from_numpy(cv2.resize(cover, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


class AppearanceClassifier(nn.Module):
    """A backbone and a linear classifier of an object's attributes from the features of its pixels.

    Args:
        backbone: a key of `PREFIXES`.
    """

    def __init__(self, backbone: str):
        super().__init__()
        self.body = BODIES[backbone]() if backbone in BODIES else uninext.BACKBONES[backbone]()
        self.head = nn.Linear(sum(self.body.channels), sum(map(len, ATTRIBUTES.values())))

    def forward(self, images: Tensor, cover: Tensor) -> list[Tensor]:
        """Images [N, 3, S, S] and masks [N, S, S] to logits [N, classes] of each attribute."""
        pooled = []
        for x in self.body(images):
            share = F.interpolate(cover[:, None], x.shape[-2:], mode="area")
            pooled.append((x * share).sum((2, 3)) / share.sum((2, 3)).clamp(min=1e-6))
        return list(self.head(torch.cat(pooled, 1)).split([len(classes) for classes in ATTRIBUTES.values()], 1))


def make_task(name: str, settings: Mapping[str, Any], score: Callable | None = None) -> BackboneTask:
    """Makes the training task that settings describe.

    Args:
        name: name of the backbone, a key of `PREFIXES`.
        settings: values for `DEFAULTS`.
        score: not used; validation measures the accuracy.

    Raises:
        InputError: unknown settings, other data than `shapes`, or weights of another backbone.
    """
    s = merge_settings(DEFAULTS, dict(settings), f"train backbone={name}")
    return BackboneTask(name, s["seed"], s["pretrained"])


class BackboneTask(TrainingTask):
    """Pre-training of one backbone.

    Args:
        backbone: a key of `PREFIXES`.
        seed: seed of initial weights and samples.
        pretrained: file of initial weights from an earlier run.
    """

    def __init__(self, backbone: str, seed: int = 0, pretrained: str | None = None):
        self.backbone, self.crops, self.held_out = backbone, ObjectCrops(seed), ObjectCrops(0, "val")
        torch.manual_seed(seed)
        self.network = AppearanceClassifier(backbone)
        if pretrained:
            prefix = PREFIXES[backbone]
            weights = {k.removeprefix(prefix): v for k, v in read_weights(pretrained, "a backbone").items()}
            if problems := mismatches(weights, {k: tuple(v.shape) for k, v in self.network.body.state_dict().items()}):
                raise InputError([f"{pretrained}: {problem}" for problem in problems])
            self.network.body.load_state_dict(weights)
        unfreeze_norms(self.network)

    def samples(self) -> Dataset:
        return self.crops

    def collate(self, samples: list[list[ObjectCrop]]) -> dict[str, Tensor]:
        images, covers, classes = zip(*(crop for frame in samples for crop in frame), strict=True)
        return {"images": torch.stack(images), "cover": torch.stack(covers), "classes": torch.tensor(classes)}

    def losses(self, batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        logits = self.network(batch["images"], batch["cover"])
        return {
            attribute: F.cross_entropy(x, batch["classes"][:, i])
            for i, (attribute, x) in enumerate(zip(ATTRIBUTES, logits, strict=True))
        }

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Accuracy of each attribute on the objects of 100 held-out frames."""
        batch = self.collate([self.held_out[i] for i in range(VALIDATION_FRAMES)])
        device = next(network.parameters()).device
        logits = network(batch["images"].to(device), batch["cover"].to(device))
        correct = [(x.argmax(1).cpu() == batch["classes"][:, i]).float().mean() for i, x in enumerate(logits)]
        return {attribute.capitalize(): share.item() for attribute, share in zip(ATTRIBUTES, correct, strict=True)}

    def checkpoint(self, state: dict[str, Tensor]) -> dict[str, Any]:
        body = {k.removeprefix("body."): v for k, v in without_counts(state).items() if k.startswith("body.")}
        return {"model": {PREFIXES[self.backbone] + k: v for k, v in body.items()}}
