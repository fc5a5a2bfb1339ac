"""The training task of URVOS, its samples and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import switch, text
from rvos_ensemble.adapters.datasets.shapes.sentences import VOCABULARY
from rvos_ensemble.adapters.inference.preprocess import MEAN, STD
from rvos_ensemble.adapters.networks.urvos.urvos import URVOS, VARIANTS, Sentences
from rvos_ensemble.adapters.networks.urvos.vocabulary import Vocabulary, split
from rvos_ensemble.adapters.training.loop import settings as common
from rvos_ensemble.adapters.training.loop.task import TrainingTask
from rvos_ensemble.adapters.training.losses import dice
from rvos_ensemble.adapters.training.norms import unfreeze_norms, without_counts
from rvos_ensemble.adapters.training.samples.folder import FolderClips
from rvos_ensemble.adapters.training.samples.rendered import RenderedClips
from rvos_ensemble.adapters.training.samples.sample import Sample
from rvos_ensemble.adapters.training.urvos.initial_weights import initialise, load_initial

DEFAULTS: dict[str, Any] = {
    "variant": text("urvos"),
    "data": common.DATA,  # a folder has the layout of Ref-YouTube-VOS
    "frames": common.FRAMES.at(3),  # per clip
    # sample frames from the whole clip, which expressions about motion need; otherwise a few steps apart
    "spread": switch(False),
    "sentences": common.SENTENCES.at(3),  # per clip
    "size": common.SIZE.at([320, 576]),  # of the frames
    "alone": common.SHARE.at(0.5),  # share of the steps before the memory is used
    # probability that a frame is remembered under its predicted mask in place of the true one
    "own": common.SHARE.at(0.5),
    "dice": common.WEIGHT.at(1.0),  # weight of the Dice loss relative to the cross-entropy
    # relative learning rate of the backbone; 1 to train from scratch
    "backbone_lr": common.RATE.at(0.1),
    "freeze_bn": switch(True),  # False to train from scratch
    # initial weights: of the whole network, of torchvision's ResNet, or of `train backbone=resnet_nano`
    "weights": common.FILE,
    "validate_clips": common.CLIPS.at(24),
    "optimizer": common.DEFAULTS["optimizer"].at("adam"),  # as published, like `lr`
    "lr": common.DEFAULTS["lr"].at(1e-5),
    "steps": common.DEFAULTS["steps"],
    "seed": common.DEFAULTS["seed"],
}
RETRY = 1_000_003  # distance from a clip without expressions to the next one that is tried
CLIP_LENGTHS = (4, 36)  # the frames of a sample pretend to come from a clip of so many frames


class URVOSTask(TrainingTask):
    """Training of URVOS.

    Args:
        settings: values for `DEFAULTS`.
        words: the vocabulary.
        clips: an endless data set of `Sample`.
        held_out: clips for validation.
        score: metric of predicted and true masks, bool [T, H, W], such as J&F.

    Raises:
        InputError: unknown variant, or weights that do not fit.
    """

    def __init__(self, settings: Mapping[str, Any], words: Vocabulary, clips, held_out: list[Sample], score: Callable):
        self.settings, self.clips, self.held_out, self.score = settings, clips, held_out, score
        if settings["variant"] not in VARIANTS:
            raise InputError(
                f"train: no variant {settings['variant']!r} of urvos, expected one of {', '.join(VARIANTS)}"
            )
        torch.manual_seed(settings["seed"])
        # Inference resizes frames to the size of the training frames.
        variant = replace(VARIANTS[settings["variant"]], short_side=min(settings["size"]))
        self.network = initialise(URVOS(variant, words))
        if settings["weights"]:
            load_initial(self.network, settings["weights"])
        if not settings["freeze_bn"]:
            unfreeze_norms(self.network.backbone)

    def samples(self) -> ClipsWithSentences:
        return ClipsWithSentences(self.clips, self.settings["sentences"], self.settings["seed"])

    def collate(self, samples: list[Sample]) -> dict[str, Tensor]:
        """B clips of T frames and E sentences: images uint8 [B, T, H, W, 3], masks and void bool, words and padding."""
        count = self.settings["sentences"]
        masks = [np.stack([s.ids == k for _, k in s.expressions]) for s in samples]
        ids, padding = self.network.words.encode([text for s in samples for text, _ in s.expressions])
        return {
            "images": torch.from_numpy(np.stack([s.images for s in samples])),
            "masks": torch.from_numpy(np.stack(masks)),  # [B, E, T, H, W]
            "void": torch.from_numpy(np.stack([s.ids == 255 for s in samples])),  # [B, T, H, W]
            "words": ids.unflatten(0, (len(samples), count)),
            "padding": padding.unflatten(0, (len(samples), count)),
        }

    def losses(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        network, (clips, frames) = self.network, batch["images"].shape[:2]
        maps = network.encode(normalised(batch["images"].flatten(0, 1)))
        single, recalled = [], []
        for b in range(clips):
            clip_maps = [m[b * frames : (b + 1) * frames] for m in maps]
            sentences = network.embed(batch["words"][b], batch["padding"][b])
            single.append(network.answer(clip_maps, sentences))
            if step >= self.settings["alone"] * self.settings["steps"]:
                recalled.append(self._with_memory(clip_maps, sentences, single[-1], batch["masks"][b]))
        truth, known = batch["masks"].float(), ~batch["void"][:, None]
        terms = self._terms(torch.stack(single), truth, known, "alone")
        return terms | (self._terms(torch.stack(recalled), truth, known, "memory") if recalled else {})

    def _with_memory(self, maps: list[Tensor], sentences: Sentences, single: Tensor, truth: Tensor) -> Tensor:
        """Logits [E, T, h, w] of the frames of a clip with a memory of some of them.

        Args:
            maps: of `URVOS.encode`.
            sentences: E expressions.
            single: logits [E, T, h, w] without memory.
            truth: true masks [E, T, H, W].
        """
        frames = len(maps[0])
        length = int(torch.randint(max(frames, CLIP_LENGTHS[0]), CLIP_LENGTHS[1] + 1, ()))
        times = torch.randperm(length)[:frames].sort().values.to(single)
        chosen = torch.randperm(frames)[: int(torch.randint(1, max(2, frames), ()))]
        masks = F.interpolate(truth[:, chosen].float(), single.shape[-2:], mode="area")
        if torch.rand(()) < self.settings["own"]:
            masks = single[:, chosen].detach().sigmoid()
        memory = self.network.remember([m[chosen] for m in maps], masks, times[chosen], length)
        return self.network.answer(maps, sentences, memory, times, length)

    def _terms(self, logits: Tensor, truth: Tensor, known: Tensor, name: str) -> dict[str, Tensor]:
        """Cross-entropy and Dice of logits [B, E, T, h, w] at the size of the frames."""
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
        """J&F of held-out clips: of single frames, and with the true mask of the first frame in the memory."""
        single, memory = [], []
        device = next(network.parameters()).device
        for sample in self.held_out:
            maps = network.encode(normalised(torch.from_numpy(sample.images).to(device)))
            texts, objects = zip(*sample.expressions, strict=True)
            sentences = network.read(texts)
            first = network.answer(maps, sentences)
            truth = torch.from_numpy(np.stack([sample.ids == k for k in objects])).float()
            reference = F.interpolate(truth[:, :1].to(device), first.shape[-2:], mode="area")
            times, length = torch.arange(len(sample.images), device=device).float(), len(sample.images)
            remembered = network.remember([m[:1] for m in maps], reference, times[:1], length)
            second = network.answer(maps, sentences, remembered, times, length)
            for scores, logits in ((single, first), (memory, second)):
                masks = F.interpolate(logits, truth.shape[-2:], mode="bilinear") > 0
                pairs = zip(masks.cpu().numpy(), truth.bool().numpy(), strict=True)
                scores += [self.score(p[1:], t[1:]) for p, t in pairs]
        return {"J&F": float(np.mean(single)), "J&F with memory": float(np.mean(memory))} if single else {}

    def checkpoint(self, state: dict[str, Tensor]) -> dict[str, Any]:
        return {"state_dict": without_counts(state)}


class ClipsWithSentences(torch.utils.data.Dataset):
    """Clips with a fixed number of randomly chosen sentences; if a clip has fewer, some are repeated."""

    def __init__(self, clips, sentences: int, seed: int):
        self.clips, self.sentences, self.seed = clips, sentences, seed

    def __getitem__(self, i: int) -> Sample:
        # Frames of `shapes` that are close to each other may have no true expression.
        sample = next(s for s in (self.clips[i + k * RETRY] for k in range(100)) if s.expressions)
        order = np.random.default_rng([self.seed, i]).permutation(len(sample.expressions))
        chosen = tuple(sample.expressions[k] for k in np.resize(order, self.sentences))
        return replace(sample, expressions=chosen)


def make_task(name: str, settings: dict[str, Any], score: Callable) -> URVOSTask:
    """Makes the training task that settings describe.

    Args:
        name: urvos.
        settings: values for `DEFAULTS`.
        score: see `URVOSTask`.

    Raises:
        InputError: unknown variant or data.
    """
    size, frames, seed = tuple(settings["size"]), settings["frames"], settings["seed"]
    if settings["data"] == "shapes":
        clips = RenderedClips(seed, frames, size, spread=settings["spread"])
        held_out = RenderedClips(seed, 6, size, split="val", spread=True)
        held_out = [held_out[i] for i in range(settings["validate_clips"])]
        return URVOSTask(settings, Vocabulary(VOCABULARY), clips, held_out, score)
    clips = FolderClips(settings["data"], frames, size, seed, settings["spread"], with_expressions=True)
    words = vocabulary([text for video in clips.videos for text, _ in video.expressions])
    return URVOSTask(settings, words, clips, [], score)


def normalised(images: Tensor) -> Tensor:
    """uint8 [N, H, W, 3] to normalised float32 [N, 3, H, W], as in inference."""
    mean, std = (torch.from_numpy(x).to(images.device) for x in (MEAN, STD))
    return ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()


def vocabulary(sentences: list[str], most: int = 20000) -> Vocabulary:
    """The most frequent words of sentences, in descending order; equally frequent words in alphabetical order."""
    count: dict[str, int] = {}
    for word in (w for s in sentences for w in split(s)):
        count[word] = count.get(word, 0) + 1
    return Vocabulary(sorted(count, key=lambda w: (-count[w], w))[:most])
