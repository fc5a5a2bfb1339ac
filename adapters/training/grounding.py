"""Training of the grounding network: which of a clip's tracklets a sentence means.

A training's tracklets are true objects with the errors of real ones: outlines that are off, frames in which they are
lost, and beside them what no sentence means: pieces of background, and two objects taken for one.

Source: Liang et al., arXiv 2106.01061, 2.3: Adam, learning rate 4e-5, then 1e-5, weight decay 1e-4. How long, the paper
does not say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import number, whole
from rvos_ensemble.adapters.core.settings import text as text_setting
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.options import TOKENIZER
from rvos_ensemble.adapters.inference.weights import read_weights
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.grounding import VARIANTS, Grounding, Variant, paths_of, shares, tokenizer_of
from rvos_ensemble.adapters.training.loop import loop
from rvos_ensemble.adapters.training.loop.settings import CLIPS, DATA, FILE, FRAMES, SENTENCES, SHARE, SIZE
from rvos_ensemble.adapters.training.loop.task import TrainingTask
from rvos_ensemble.adapters.training.samples.samples import FolderClips, RenderedClips

DEFAULTS: dict[str, Any] = {
    "variant": text_setting("grounding"),  # one of adapters.networks.grounding.VARIANTS
    "data": DATA,  # or a folder in the layout of Ref-YouTube-VOS
    "frames": FRAMES.at(8),  # of a sample, all over the clip: for the paths
    "looks": whole(4, least=1),  # of these, frames that are looked at
    "sentences": SENTENCES.at(8),  # of a sample at most
    "size": SIZE.at([360, 640]),  # of the frames, (height, width)
    # share of samples without paths, where the network takes any: images have none
    "pathless": SHARE.at(0.2),
    "dropout": number(0.1, least=0, most=0.99),  # 0 for trainings so short that nothing is learned by heart
    "visual_weights": FILE,  # of an encoder trained on ImageNet, in torchvision's names for ResNets
    "text_weights": FILE,  # of the language model
    "tokenizer": TOKENIZER,  # folder; None: that of the variant
    "held_out": CLIPS.at(40),  # clips of validation
    "optimizer": loop.DEFAULTS["optimizer"].at("adam"),
    "lr": loop.DEFAULTS["lr"].at(4e-5),
    "drops": loop.DEFAULTS["drops"].at([0.67]),
    "drop": loop.DEFAULTS["drop"].at(0.25),  # to 1e-5
    "weight_decay": loop.DEFAULTS["weight_decay"].at(1e-4),
    "seed": loop.DEFAULTS["seed"],
}


@dataclass(frozen=True)
class Item:
    """A clip to learn from.

    Attributes:
        images: normalised, float [looks, 3, H, W].
        masks: of P tracklets in these frames, float [looks, P, h, w].
        paths: of the tracklets in all frames, float [P, points, 4].
        rows: token numbers of E sentences.
        target: int64 [E], the tracklet that each means.
    """

    images: Tensor
    masks: Tensor
    paths: Tensor
    rows: list[list[int]]
    target: Tensor


class GroundingTrainee(TrainingTask):
    """One variant of the grounding network in training.

    Args:
        settings: see `DEFAULTS`.

    Raises:
        InputError: no such variant, data or weights that cannot be read.
    """

    def __init__(self, settings: dict[str, Any]):
        self.settings = settings
        if settings["variant"] not in VARIANTS:
            raise InputError(f"train grounding: no variant {settings['variant']!r}. There are: {', '.join(VARIANTS)}")
        self.variant: Variant = VARIANTS[settings["variant"]]
        self.tokenizer = text.load_tokenizer(self.variant.language, tokenizer_of(self.variant, settings["tokenizer"]))
        torch.manual_seed(settings["seed"])
        self.network = self.variant.network()
        set_dropout(self.network, settings["dropout"])
        for part, key in (("visual.body", "visual_weights"), ("text_encoder", "text_weights")):
            if settings[key]:
                start_from(self.network.get_submodule(part), settings[key])
        self.items = Items(self, settings["seed"], "train")
        # clips that it has not seen there are of `shapes` alone
        self.held_out = Items(self, settings["seed"], "val") if settings["data"] == "shapes" else None

    def samples(self) -> Items:
        return self.items

    def collate(self, samples: list[Item]) -> list[dict[str, Any]]:
        return [vars(item) for item in samples]

    def losses(self, batch: list[dict[str, Any]], step: int) -> dict[str, Tensor]:
        """Cross-entropy over the tracklets of every frame."""
        found = []
        for item in batch:
            with_paths = torch.rand(()).item() >= self.settings["pathless"]
            logits = self.logits(self.network, item, with_paths)
            target = item["target"][:, None].expand(-1, logits.shape[1])
            found.append(F.cross_entropy(logits.flatten(0, 1), target.flatten()))
        return {"grounding": torch.stack(found).mean()}

    def logits(self, network: Grounding, item: dict[str, Any], with_paths: bool = True) -> Tensor:
        """[E, T, P] of one item."""
        objects = network.pool(item["images"], item["masks"])
        words = network.words(item["rows"], self.variant.language)
        return network(objects, words, item["paths"] * with_paths)

    def validate(self, network: Grounding) -> dict[str, float]:
        """How often the right tracklet is chosen on held-out clips, and how often by chance: 1 / number of them."""
        right, chance = [], []
        device = next(network.parameters()).device
        for i in range(self.settings["held_out"] if self.held_out else 0):
            item = self.collate([self.held_out[i]])[0]
            item = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in item.items()}
            choice = self.logits(network, item).softmax(2).mean(1).argmax(1)
            right += (choice == item["target"]).tolist()
            chance += [1 / item["masks"].shape[1]] * len(choice)
        return {"Accuracy": float(np.mean(right)), "Chance": float(np.mean(chance))} if right else {}


def trainee(name: str, settings: dict[str, Any], score: Callable) -> GroundingTrainee:
    """The trainee that the command `train` asks for; masks are not predicted, so there is nothing to `score`."""
    return GroundingTrainee(settings)


class Items(torch.utils.data.Dataset):
    """Clips with simulated tracklets, by number without end; item i depends on the seed and i alone."""

    def __init__(self, owner: GroundingTrainee, seed: int, split: str):
        s = owner.settings
        self.owner, self.seed, self.split = owner, seed, split
        size = tuple(s["size"])
        if s["data"] == "shapes":
            self.clips = RenderedClips(seed, s["frames"], size, split, spread=True)
        else:
            self.clips = FolderClips(s["data"], s["frames"], size, seed, spread=True, told=True)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Item:
        s, owner, sample = self.owner.settings, self.owner, self.clips[index]
        rng = np.random.default_rng([self.seed, index, self.split == "val"])
        size = sample.images.shape[1:3]
        tracklets = simulate(sample.ids, rng)  # [T, P, H, W]
        order = rng.permutation(len(tracklets[0]))
        places = np.argsort(order)  # of the objects among the tracklets
        map_size = owner.network.map_size(size)
        masks = torch.from_numpy(np.stack([[shares(frame[i], map_size) for i in order] for frame in tracklets]))
        looks = np.sort(rng.permutation(len(masks))[: s["looks"]])
        some = [sample.expressions[i] for i in rng.permutation(len(sample.expressions))[: s["sentences"]]]
        return Item(
            torch.stack([preprocess.shrink(sample.images[t], size, "torchvision") for t in looks]),
            masks[looks],
            paths_of(masks, owner.variant.points),
            text.tokenize(owner.tokenizer, owner.variant.language, [sentence for sentence, _ in some]),
            torch.tensor([places[i - 1] for _, i in some]),
        )


def simulate(ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tracklets of a clip: its objects in their order, with errors, then what no sentence means.

    Args:
        ids: uint8 [T, H, W].

    Returns:
        bool [T, P, H, W].
    """
    length, size = len(ids), ids.shape[1:]
    objects = [i for i in range(1, int(ids[ids < 255].max(initial=0)) + 1)]
    found = [np.stack([_ragged(ids[t] == i, rng) for t in range(length)]) for i in objects]
    for mask in found:
        mask[rng.random(length) < 0.05] = False  # lost
    for _ in range(rng.integers(0, 3)):
        found.append(_background(length, size, rng))
    if len(objects) > 1 and rng.random() < 0.3:
        a, b = rng.choice(len(objects), 2, replace=False)
        found.append(found[a] | found[b])
    return np.stack(found, 1)


def _ragged(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask with an outline that is off by up to 5 % of its size."""
    if not mask.any():
        return mask
    reach = max(1, round(0.05 * np.sqrt(np.count_nonzero(mask))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    change = (cv2.erode, cv2.dilate, lambda m, _: m)[rng.integers(3)]
    return np.roll(change(mask.view(np.uint8), kernel).view(bool), rng.integers(-reach, reach + 1, 2), (0, 1))


def _background(length: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """An ellipse that drifts, bool [T, H, W]."""
    start, end = rng.uniform(0.1, 0.9, (2, 2)) * size
    end = start + 0.3 * (end - start)
    axes = [max(2, int(a)) for a in rng.uniform(0.05, 0.2, 2) * size[0]]
    masks = np.zeros((length, *size), np.uint8)
    for t, mask in enumerate(masks):
        y, x = start + (end - start) * t / max(1, length - 1)
        cv2.ellipse(mask, (int(x), int(y)), axes, float(rng.uniform(0, 10)), 0, 360, 1, -1)
    return masks.view(bool)


def set_dropout(network: nn.Module, share: float) -> None:
    """Sets every dropout of a network."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = share


def start_from(module: nn.Module, path: str | Path) -> None:
    """Loads weights that were trained for something else: heads that the module has not are left out.

    Raises:
        InputError: some of the module's weights are not among them.
    """
    found = read_weights(path, "weights to start from")
    for prefix in ("", "bert.", "roberta.", "backbone."):
        if all(prefix + k in found for k in module.state_dict()):
            module.load_state_dict({k: found[prefix + k] for k in module.state_dict()})
            return
    raise InputError(f"{path}: lacks weights such as {next(k for k in module.state_dict() if k not in found)}")
