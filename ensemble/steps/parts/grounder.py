"""Probabilities that expressions mean objects: frames, masks and sentences of a clip through grounding networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rvos_ensemble.adapters.core import progress
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import file_hash, file_stamp
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.adapters.core.unknown_words import unknown_word_problems
from rvos_ensemble.adapters.inference import device as devices
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.inference.tokenization import (
    known_words,
    load_tokenizer,
    stored_tokenizer,
    tokenize,
    tokenizer_files,
    unknown_words,
)
from rvos_ensemble.adapters.networks.grounding.tracklets import paths_of, shares
from rvos_ensemble.propagators.core.key_frames import uniform


class Grounder:
    """One or several grounding networks, whose probabilities are averaged.

    Args:
        weights: checkpoints, or names of weights of this package.
        tokenizer: its folder, for networks whose checkpoint does not hold their tokenizer; None for their own.
        short_side: of the frames that the networks see, in pixels; None as they were trained.
        device, precision: of the computation.
        frames_per_step: frames per forward pass.

    Raises:
        InputError: every problem of the settings, the weights and the tokenizer.
    """

    def __init__(
        self,
        weights: Sequence[str],
        tokenizer: str | None = None,
        short_side: int | None = None,
        device: str = "auto",
        precision: str = "fp32",
        frames_per_step: int = 8,
    ):
        problems = list(devices.problems({"device": device, "precision": precision}, "ground"))
        self.members: list[Member] = []
        for path in weights:
            try:
                self.members.append(Member(path, tokenizer, short_side))
            except InputError as error:
                problems += error.problems
        if tokenizer and self.members and not any(member.folder for member in self.members) and not problems:
            problems.append(f"ground: tokenizer is {tokenizer}, but each checkpoint holds its own; remove `tokenizer`")
        if problems:
            raise InputError(problems)
        self.device, self.precision, self.step = devices.pick(device), precision, frames_per_step

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights and tokenizers."""
        return " ".join(file_hash(file_stamp(f)) for member in self.members for f in member.files)

    def word_problems(self, clip: Clip, weights: str, advice: str) -> list[str]:
        """The words of a clip that a network with a small vocabulary does not know; see `Member.word_problems`."""
        return list(dict.fromkeys(p for m in self.members for p in m.word_problems(clip, weights, advice)))

    def probabilities(
        self, clip: Clip, objects: Objects, frames: int | None = None, visible: np.ndarray | None = None
    ) -> np.ndarray:
        """The probability, frame by frame, that an expression means an object; it sums to 1 over the objects.

        Args:
            clip: frames and expressions.
            objects: P tracklets, at least one.
            frames: number of frames that the networks see, uniformly sampled; None for all.
            visible: bool [T, P], the objects among which every frame chooses, whose paths count as unknown; None: all
                objects in every frame, with their paths.

        Returns:
            float32 [E, T, P], where T is the number of sampled frames.
        """
        times = list(range(len(clip))) if frames is None else uniform(len(clip), frames)
        total = 0
        for member in self.members:
            logits = self._logits(member, clip, objects, times, visible is None)
            if visible is not None:
                logits[:, torch.from_numpy(~visible[times])] = -torch.inf
                logits[:, torch.from_numpy(~visible[times].any(1))] = 0  # no object to choose from
            total = total + logits.softmax(2)
        return (total / len(self.members)).numpy()

    @torch.no_grad()
    def _logits(self, member: Member, clip: Clip, objects: Objects, times: list[int], tracked: bool) -> Tensor:
        """[E, T, P] on the host."""
        network = member.network.to(self.device)
        size = preprocess.input_size(clip.size, member.short_side, None, "torchvision")
        map_size = network.map_size(size)
        pooled, masks = [], []
        with devices.autocast(self.device, self.precision, network):
            for start in progress.counted(range(0, len(times), self.step)):
                span = times[start : start + self.step]
                covered = np.stack([[shares(s.mask(t), map_size) for s in objects.values()] for t in span])
                masks.append(torch.from_numpy(covered).to(self.device))  # [t, P, h, w]
                pooled.append(network.pool(preprocess.read(clip, span, size, "torchvision").to(self.device), masks[-1]))
            words = network.words(member.tokens([e.text for e in clip.expressions]), member.variant.language)
            paths = paths_of(torch.cat(masks), network.points) * tracked  # [P, points, 4]
            return network(torch.cat(pooled), words, paths, self.step).float().cpu()


class Member:
    """One network that compares tracklets with expressions, with its tokenizer.

    Args:
        weights: its checkpoint.
        tokenizer, short_side: see `Grounder`.
        family: of the network, "grounding" or "judge".

    Raises:
        InputError: weights or a tokenizer that do not fit.
    """

    def __init__(self, weights: str, tokenizer: str | None, short_side: int | None, family: str = "grounding"):
        checkpoint = open_checkpoint(weights, family)
        self.path, self.variant = checkpoint.path, checkpoint.variant
        self.network = checkpoint.network()
        self.short_side = short_side or self.variant.short_side
        encoder = self.variant.text_encoder
        self.folder = None if encoder else self.variant.tokenizer(tokenizer)  # of the tokenizer
        if encoder:
            self.tokenizer = stored_tokenizer(encoder.tokenizer, weights)
        else:
            self.tokenizer = load_tokenizer(self.variant.language, self.folder)
        size, words = self.tokenizer.get_vocab_size(), self.variant.words
        if size > words or (size < words and not encoder):  # published encoders may have more words than they use
            raise InputError(
                f"{self.folder or ('the checkpoint' if encoder else 'the cache')}: a tokenizer of {size} entries, "
                f"expected {words} as {weights} has"
            )

    @property
    def files(self) -> list[Path]:
        """The files that the results depend on."""
        if self.variant.text_encoder:
            return [self.path]
        return [self.path, *tokenizer_files(self.variant.language, self.folder)]

    def word_problems(self, clip: Clip, weights: str, advice: str) -> list[str]:
        """The words of a clip that the network does not know, if its vocabulary is small.

        Args:
            clip: with expressions.
            weights: their name for the message.
            advice: what to do.
        """
        if not self.variant.small:  # a published tokenizer spells out words that it does not know
            return []
        unknown = unknown_words(self.tokenizer, self.variant.language, [e.text for e in clip.expressions])
        return unknown_word_problems(clip.name, weights, unknown, known_words(self.tokenizer), advice)

    def tokens(self, sentences: Sequence[str]) -> list[list[int]]:
        """Token numbers of each sentence."""
        return tokenize(self.tokenizer, self.variant.language, sentences)
