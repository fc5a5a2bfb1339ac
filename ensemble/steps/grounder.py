"""Probabilities that expressions mean objects: frames, masks and sentences of a clip through grounding networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.hashing import file_hash, file_stamp
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.adapters.inference import device as devices
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.weights import weights_file
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.grounding import Grounding, open_grounding, paths_of, shares, tokenizer_of
from rvos_ensemble.propagators.core.key_frames import uniform


class Grounder:
    """One or several grounding networks, whose probabilities are averaged.

    Args:
        weights: checkpoints, or names of weights that come with the package.
        tokenizer: folder; None for the networks' own.
        short_side: pixels of the frames that the networks see; None as they were trained.
        device, precision: where and how precisely.
        frames_per_step: frames at once.

    Raises:
        InputError: what is wrong with the settings, the weights or the tokenizer.
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
        if problems:
            raise InputError(problems)
        self.device, self.precision, self.step = devices.pick(device), precision, frames_per_step

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever weights or tokenizers do."""
        return " ".join(file_hash(file_stamp(f)) for member in self.members for f in member.files)

    def strange(self, sentences: Sequence[str]) -> list[str]:
        """Those with words that a network of few words does not know."""
        return [s for s in sentences if any(member.unknown in member.tokens([s])[0] for member in self.members)]

    def probabilities(
        self, clip: Clip, objects: Objects, looks: int | None = None, there: np.ndarray | None = None
    ) -> np.ndarray:
        """How probable it is, frame by frame, that an expression means an object; they sum to 1 over the objects.

        Args:
            clip: frames and expressions.
            objects: P tracklets, at least one.
            looks: at so many frames, uniformly sampled; None for all.
            there: bool [T, P], the objects among which every frame chooses, their paths unknown; None: all of them.

        Returns:
            float32 [E, T, P], T the frames looked at.
        """
        times = list(range(len(clip))) if looks is None else uniform(len(clip), looks)
        total = 0
        for member in self.members:
            logits = self._logits(member, clip, objects, times, there is None)
            if there is not None:
                logits[:, torch.from_numpy(~there[times])] = -torch.inf
                logits[:, torch.from_numpy(~there[times].any(1))] = 0  # nothing to choose from
            total = total + logits.softmax(2)
        return (total / len(self.members)).numpy()

    @torch.no_grad()
    def _logits(self, member: Member, clip: Clip, objects: Objects, times: list[int], tracked: bool) -> Tensor:
        """[E, T, P] on the host."""
        network = member.network.to(self.device)
        size = preprocess.input_size(clip.size, member.short_side, None, "torchvision")
        map_size = network.map_size(size)
        pooled, masks = [], []
        with devices.autocast(self.device, self.precision):
            for start in range(0, len(times), self.step):
                span = times[start : start + self.step]
                covered = np.stack([[shares(s.mask(t), map_size) for s in objects.values()] for t in span])
                masks.append(torch.from_numpy(covered).to(self.device))
                pooled.append(network.pool(preprocess.read(clip, span, size, "torchvision").to(self.device), masks[-1]))
            words = network.words(member.tokens([e.text for e in clip.expressions]), member.variant.language)
            paths = paths_of(torch.cat(masks), network.points) * tracked
            return network(torch.cat(pooled), words, paths, self.step).float().cpu()


class Member:
    """One network of the ensemble, with its tokenizer."""

    def __init__(self, path: str, tokenizer: str | None, short_side: int | None):
        self.path = weights_file(path)
        self.network, self.variant = open_grounding(path)
        self.short_side = short_side or self.variant.short_side
        self.folder = tokenizer_of(self.variant, tokenizer)
        self.tokenizer = text.load_tokenizer(self.variant.language, self.folder)
        # of few words: what is none of them is nothing to it; a published tokenizer spells it
        small = self.variant.words < 1000
        self.unknown = self.tokenizer.token_to_id(self.variant.language.unknown) if small else None
        if self.tokenizer.get_vocab_size() != self.variant.words:
            raise InputError(
                f"{self.folder or 'the cache'}: a tokenizer of {self.tokenizer.get_vocab_size()} entries, expected "
                f"{self.variant.words} as {path} has"
            )

    network: Grounding

    @property
    def files(self) -> list:
        """What the results depend on."""
        return [self.path, *text.tokenizer_files(self.variant.language, self.folder)]

    def tokens(self, sentences: Sequence[str]) -> list[list[int]]:
        return text.tokenize(self.tokenizer, self.variant.language, sentences)
