"""The presence of expressions: frames, tracklets and sentences of a clip through a judge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import file_hash, file_stamp
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.inference import device as devices
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.networks.grounding.tracklets import paths_of, shares
from rvos_ensemble.ensemble.fusion.existence import NO_TARGET_SHARE
from rvos_ensemble.ensemble.steps.parts.grounder import Member
from rvos_ensemble.propagators.core.key_frames import uniform


class PresenceJudge:
    """A judge with its checkpoint and tokenizer.

    Args:
        weights: checkpoint, or the name of weights of this package.
        no_target_share: share of the expressions of the data that refer to nothing. The network was trained as if it
            were one half; its odds are multiplied by (1 - share) / share.
        tokenizer: its folder; None for the network's own.
        short_side: of the frames that the network sees, in pixels; None as it was trained.
        device, precision: of the computation.
        frames: number of frames that the network sees, uniformly sampled.

    Raises:
        InputError: every problem of the settings, the weights and the tokenizer.
    """

    def __init__(
        self,
        weights: str,
        no_target_share: float = NO_TARGET_SHARE,
        tokenizer: str | None = None,
        short_side: int | None = None,
        device: str = "auto",
        precision: str = "fp32",
        frames: int = 6,
    ):
        problems = list(devices.problems({"device": device, "precision": precision}, "judge"))
        try:
            self.member = Member(weights, tokenizer, short_side, "judge")
        except InputError as error:
            problems += error.problems
        if problems:
            raise InputError(problems)
        self.device, self.precision, self.frames = devices.pick(device), precision, frames
        self.prior = math.log((1 - no_target_share) / no_target_share)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights and the tokenizer."""
        return " ".join(file_hash(file_stamp(f)) for f in self.member.files)

    def word_problems(self, clip: Clip, weights: str, advice: str) -> list[str]:
        """The words of a clip that the network does not know; see `Member.word_problems`."""
        return self.member.word_problems(clip, weights, advice)

    @torch.no_grad()
    def presences(self, clip: Clip, tracklets: Sequence[MaskSequence]) -> list[float]:
        """The probability that each expression of the clip refers to anything.

        Args:
            clip: frames and E expressions.
            tracklets: P mask sequences, at least one.

        Returns:
            E probabilities.
        """
        member, network = self.member, self.member.network.to(self.device)
        size = preprocess.input_size(clip.size, member.short_side, None, "torchvision")
        map_size = network.matcher.map_size(size)
        covered = np.stack([[shares(s.mask(t), map_size) for s in tracklets] for t in range(len(clip))])
        masks = torch.from_numpy(covered).to(self.device)  # [T, P, h, w]
        times = uniform(len(clip), self.frames)
        with devices.autocast(self.device, self.precision, network):
            frames = preprocess.read(clip, times, size, "torchvision").to(self.device)
            words = network.matcher.words(member.tokens([e.text for e in clip.expressions]), member.variant.language)
            pooled = network.pool(frames, masks[times])
            _, presence = network(pooled, words, paths_of(masks, network.matcher.points))
        return (presence.float() + self.prior).sigmoid().cpu().tolist()
