"""URVOS as something to train: frames by themselves first, then with what is remembered of other frames.

In the first part of the steps every frame answers alone (the authors pre-train on pictures); in the rest it answers
twice, alone and with a memory of some of the other frames, under their true masks or under those just found.
Unlike the paper, whose loss is the cross-entropy, dice is added: objects of `shapes` are small.

Source: Seo et al., "URVOS", ECCV 2020, Sec. 4 and 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import switch, text
from rvos_ensemble.adapters.datasets.shapes.sentences import VOCABULARY
from rvos_ensemble.adapters.inference.preprocess import MEAN, STD
from rvos_ensemble.adapters.inference.weights import mismatches, read_weights
from rvos_ensemble.adapters.networks.urvos.urvos import URVOS, VARIANTS, Text
from rvos_ensemble.adapters.networks.urvos.words import Words, split
from rvos_ensemble.adapters.training.loop import loop
from rvos_ensemble.adapters.training.loop.settings import (
    CLIPS,
    DATA,
    FILE,
    FRAMES,
    RATE,
    SENTENCES,
    SHARE,
    SIZE,
    WEIGHT,
)
from rvos_ensemble.adapters.training.loop.task import TrainingTask
from rvos_ensemble.adapters.training.losses import dice
from rvos_ensemble.adapters.training.norms import unfreeze_norms, without_counts
from rvos_ensemble.adapters.training.samples.samples import FolderClips, RenderedClips, Sample

DEFAULTS: dict[str, Any] = {
    "variant": text("urvos"),
    "data": DATA,  # or a folder in the layout of Ref-YouTube-VOS
    "frames": FRAMES.at(3),  # of a clip
    "spread": switch(False),  # frames all over the clip, as sentences about motion need; else a few steps apart
    "sentences": SENTENCES.at(3),  # of a clip
    "size": SIZE.at([320, 576]),  # of the pictures
    "alone": SHARE.at(0.5),  # share of the steps before the memory comes in
    # how often, with it, a frame is remembered under the mask just found, not the true one
    "own": SHARE.at(0.5),
    "dice": WEIGHT.at(1.0),  # weight of it beside the cross-entropy
    # learning rate of the backbone, relative; 1 for a training from nothing
    "backbone_lr": RATE.at(0.1),
    "freeze_bn": switch(True),  # False for a training from nothing
    "weights": FILE,  # to start from: of the whole network, of torchvision's ResNet, or of `train backbone=resnet_nano`
    "validate_clips": CLIPS.at(24),
    # the loop's, as published where they differ from its own
    "optimizer": loop.DEFAULTS["optimizer"].at("adam"),
    "lr": loop.DEFAULTS["lr"].at(1e-5),
    "steps": loop.DEFAULTS["steps"],
    "seed": loop.DEFAULTS["seed"],
}
FAR = 1_000_003  # samples between one that is of no use and the next that is tried
BODY = "backbone.0.body."  # the backbone's place among the weights of `train backbone=resnet_nano`
LENGTHS = (4, 36)  # frames of the clips that the few frames of a sample are said to be from


class URVOSTrainee(TrainingTask):
    """URVOS in training.

    Args:
        settings: values for `DEFAULTS`.
        words: the vocabulary.
        clips: samples by number, without end.
        held_out: clips for validation.
        score: (predicted, true) bool [T, H, W] to J&F.

    Raises:
        InputError: no such variant, or weights that do not fit.
    """

    def __init__(self, settings: Mapping[str, Any], words: Words, clips, held_out: list[Sample], score: Callable):
        self.settings, self.clips, self.held_out, self.score = settings, clips, held_out, score
        if settings["variant"] not in VARIANTS:
            raise InputError(f"train: no variant {settings['variant']!r} of urvos. There are: {', '.join(VARIANTS)}")
        torch.manual_seed(settings["seed"])
        # it is later shown pictures as it was trained on
        variant = replace(VARIANTS[settings["variant"]], short_side=min(settings["size"]))
        self.network = initial(URVOS(variant, words))
        if settings["weights"]:
            start_from(self.network, settings["weights"])
        if not settings["freeze_bn"]:
            unfreeze_norms(self.network.backbone)

    def samples(self) -> Chosen:
        return Chosen(self.clips, self.settings["sentences"], self.settings["seed"])

    def collate(self, samples: list[Sample]) -> dict[str, Tensor]:
        """B clips of T frames and E sentences: images uint8 [B, T, H, W, 3], masks and void bool, words and padding."""
        many = self.settings["sentences"]
        masks = [np.stack([s.ids == k for _, k in s.expressions]) for s in samples]
        ids, padding = self.network.words.encode([text for s in samples for text, _ in s.expressions])
        return {
            "images": torch.from_numpy(np.stack([s.images for s in samples])),
            "masks": torch.from_numpy(np.stack(masks)),  # [B, E, T, H, W]
            "void": torch.from_numpy(np.stack([s.ids == 255 for s in samples])),  # [B, T, H, W]
            "words": ids.unflatten(0, (len(samples), many)),
            "padding": padding.unflatten(0, (len(samples), many)),
        }

    def losses(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        network, (clips, frames) = self.network, batch["images"].shape[:2]
        maps = network.encode(normalised(batch["images"].flatten(0, 1)))
        alone, recalled = [], []
        for b in range(clips):
            own = [m[b * frames : (b + 1) * frames] for m in maps]
            text = network.embed(batch["words"][b], batch["padding"][b])
            alone.append(network.answer(own, text))
            if step >= self.settings["alone"] * self.settings["steps"]:
                recalled.append(self._with_memory(own, text, alone[-1], batch["masks"][b]))
        truth, known = batch["masks"].float(), ~batch["void"][:, None]
        terms = self._terms(torch.stack(alone), truth, known, "alone")
        return terms | (self._terms(torch.stack(recalled), truth, known, "memory") if recalled else {})

    def _with_memory(self, maps: list[Tensor], text: Text, alone: Tensor, truth: Tensor) -> Tensor:
        """The second answer [E, T, h, w] to the frames of a clip, some of which are remembered."""
        frames = len(maps[0])
        length = int(torch.randint(max(frames, LENGTHS[0]), LENGTHS[1] + 1, ()))
        times = torch.randperm(length)[:frames].sort().values.to(alone)
        chosen = torch.randperm(frames)[: int(torch.randint(1, max(2, frames), ()))]
        masks = F.interpolate(truth[:, chosen].float(), alone.shape[-2:], mode="area")
        if torch.rand(()) < self.settings["own"]:
            masks = alone[:, chosen].detach().sigmoid()
        memory = self.network.remember([m[chosen] for m in maps], masks, times[chosen], length)
        return self.network.answer(maps, text, memory, times, length)

    def _terms(self, logits: Tensor, truth: Tensor, known: Tensor, name: str) -> dict[str, Tensor]:
        """Cross-entropy and dice of [B, E, T, h, w] at the pictures' size."""
        logits = F.interpolate(logits.flatten(0, 2)[:, None], truth.shape[-2:], mode="bilinear").view_as(truth)
        known = known.expand_as(truth)
        entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        overlap = dice(logits.masked_fill(~known, -20).flatten(3), truth.flatten(3))
        return {
            f"{name}_entropy": 5 * (entropy * known).sum() / known.sum(),
            f"{name}_dice": self.settings["dice"] * overlap.mean(),
        }

    def rates(self) -> dict[str, float]:
        return {"backbone.": self.settings["backbone_lr"]}

    def validate(self, network: URVOS) -> dict[str, float]:
        """J&F of held-out clips: frames alone; and all of them with the first's true mask remembered."""
        alone, memory = [], []
        device = next(network.parameters()).device
        for sample in self.held_out:
            maps = network.encode(normalised(torch.from_numpy(sample.images).to(device)))
            texts, objects = zip(*sample.expressions, strict=True)
            text = network.read(texts)
            first = network.answer(maps, text)
            truth = torch.from_numpy(np.stack([sample.ids == k for k in objects])).float()
            given = F.interpolate(truth[:, :1].to(device), first.shape[-2:], mode="area")
            times, length = torch.arange(len(sample.images), device=device).float(), len(sample.images)
            kept = network.remember([m[:1] for m in maps], given, times[:1], length)
            second = network.answer(maps, text, kept, times, length)
            for found, logits in ((alone, first), (memory, second)):
                masks = F.interpolate(logits, truth.shape[-2:], mode="bilinear") > 0
                pairs = zip(masks.cpu().numpy(), truth.bool().numpy(), strict=True)
                found += [self.score(p[1:], t[1:]) for p, t in pairs]
        return {"J&F": float(np.mean(alone)), "J&F with memory": float(np.mean(memory))} if alone else {}

    def checkpoint(self, state: dict[str, Tensor]) -> dict[str, Any]:
        return {"state_dict": without_counts(state)}


class Chosen(torch.utils.data.Dataset):
    """Clips with so many of their sentences, chosen at random; some twice where there are fewer."""

    def __init__(self, clips, sentences: int, seed: int):
        self.clips, self.sentences, self.seed = clips, sentences, seed

    def __getitem__(self, i: int) -> Sample:
        # frames of `shapes` close to each other may leave nothing to say
        sample = next(s for s in (self.clips[i + k * FAR] for k in range(100)) if s.expressions)
        order = np.random.default_rng([self.seed, i]).permutation(len(sample.expressions))
        kept = tuple(sample.expressions[k] for k in np.resize(order, self.sentences))
        return replace(sample, expressions=kept)


def trainee(name: str, settings: dict[str, Any], score: Callable) -> URVOSTrainee:
    """For the command `train segmenter=urvos`; `data` is `shapes` or a folder in the layout of Ref-YouTube-VOS."""
    size, frames, seed = tuple(settings["size"]), settings["frames"], settings["seed"]
    if settings["data"] == "shapes":
        clips = RenderedClips(seed, frames, size, spread=settings["spread"])
        held_out = RenderedClips(seed, 6, size, split="val", spread=True)
        held_out = [held_out[i] for i in range(settings["validate_clips"])]
        return URVOSTrainee(settings, Words(VOCABULARY), clips, held_out, score)
    clips = FolderClips(settings["data"], frames, size, seed, settings["spread"], told=True)
    words = vocabulary([text for video in clips.videos for text, _ in video.expressions])
    return URVOSTrainee(settings, words, clips, [], score)


def initial(network: URVOS) -> URVOS:
    """First weights: convolutions as He et al. have them; residual blocks begin as the identity, masks as empty.

    Query and key of the memory begin alike: a cell finds the cells that look like it before anything is learned. From
    weights of their own they find nothing for hundreds of steps, and the network learns to pass its memory over.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for conv in (network.memory.remembered, network.memory.mask):  # a mask of few channels beside many of features
        nn.init.kaiming_normal_(conv.weight, mode="fan_in")
    network.memory.query.load_state_dict(network.memory.key.state_dict())
    for block in network.decoder.refine:
        nn.init.zeros_(block.conv2.weight)
    nn.init.normal_(network.decoder.head[-1].weight, std=0.01)
    nn.init.constant_(network.decoder.head[-1].bias, -2)
    for embedding in (network.word, network.position):
        nn.init.normal_(embedding.weight, std=0.5)
    return network


def start_from(network: URVOS, path: str) -> None:
    """Loads weights of the whole network, with or without its memory, or of a backbone as long as ours or longer.

    The backbone may be torchvision's, or come from `train backbone=resnet_nano`.

    Raises:
        InputError: what is missing, unknown or of another shape.
    """
    weights = read_weights(path, "weights to start from")
    if any(k.startswith(BODY) for k in weights):
        weights = {k.removeprefix(BODY): v for k, v in weights.items() if k.startswith(BODY)}
    whole = any(k.startswith("backbone.") for k in weights)
    part = network if whole else network.backbone
    passed_over = ["short_side"] if whole else ["fc."]
    if whole and not any(k.startswith("memory.") for k in weights):
        passed_over.append("memory.")
    if not whole:
        passed_over += [f"layer{i}." for i in range(len(network.variant.blocks) + 1, 5)]
    expected = {k: tuple(v.shape) for k, v in part.state_dict().items() if not k.startswith(tuple(passed_over))}
    known = {k: v for k, v in weights.items() if not k.startswith(tuple(passed_over))}
    problems = mismatches(known, expected)
    if whole and not problems and not torch.equal(known["vocabulary"], network.vocabulary):
        problems = ["trained with other words than those of the data"]
    if problems:
        raise InputError(f"{path}: to start from: {p}" for p in problems)
    part.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in known.items()}, strict=False)


def normalised(images: Tensor) -> Tensor:
    """uint8 [N, H, W, 3] to float32 [N, 3, H, W], as `adapters.networks.frames.read` does it."""
    mean, std = (torch.from_numpy(x).to(images.device) for x in (MEAN, STD))
    return ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()


def vocabulary(sentences: list[str], most: int = 20000) -> Words:
    """The most frequent words of sentences, most frequent first; of equals the first of the alphabet."""
    count: dict[str, int] = {}
    for word in (w for s in sentences for w in split(s)):
        count[word] = count.get(word, 0) + 1
    return Words(sorted(count, key=lambda w: (-count[w], w))[:most])
