"""Runs a segmentation network on a clip: frames encoded once, expressions together, masks kept as small logits.

The steps are those of the official inference code of each model, see `Procedure`.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.core import progress
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.unknown_words import unknown_word_problems
from rvos_ensemble.adapters.inference import device, preprocess
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.inference.checkpoints.segmenter_family import SegmenterCheckpoint
from rvos_ensemble.adapters.inference.logits import LogitMasks
from rvos_ensemble.adapters.inference.procedure import Procedure
from rvos_ensemble.adapters.inference.tokenization import (
    known_words,
    load_tokenizer,
    tokenize,
    tokenizer_files,
    unknown_words,
)
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.interface import Answer, Network, Text, join

HIGHEST = 60000.0  # nearly the largest number that float16 holds
WHOLE = 64  # frames: the official deformable attention does not take more at once


class Segmenter:
    """A checkpoint and a tokenizer, both checked, and the network that they make.

    Args:
        procedure: the adapter, with its settings.

    Raises:
        InputError: every problem of the settings, the weights and the tokenizer, all together.
    """

    def __init__(self, procedure: Procedure):
        self.procedure, self.settings = procedure, procedure.settings
        s = vars(self.settings)
        problems = list(device.problems(s, procedure.name))
        try:
            self.checkpoint = self._open()
            self.language = self.checkpoint.language
            self.tokenizer = load_tokenizer(self.language, self._tokenizer_folder)
            problems += self._tokenizer_problems()
        except InputError as error:
            problems += error.problems
        if problems:
            raise InputError(problems)
        self.device = device.pick(s["device"])

    @property
    def files(self) -> list[Path]:
        """The files that the results depend on."""
        return [self.checkpoint.path, *tokenizer_files(self.language, self._tokenizer_folder)]

    @property
    def frames_per_step(self) -> int:
        """Frames per forward pass."""
        s = self.settings.frames_per_step
        return self.procedure.at_once[self.checkpoint.small] if s == "auto" else s

    @cached_property
    def network(self) -> Network:
        """The network with its weights, on its device."""
        network = self.checkpoint.network(getattr(self.settings, "layer", None)).to(self.device)
        if self.settings.compile:
            network.get_submodule(self.checkpoint.family.backbone_prefix.rstrip(".")).compile(dynamic=False)
        return network

    @property
    def _converted(self) -> list[nn.Module]:
        """See `device.autocast`; torch.compile would compile the conversion."""
        return [] if self.settings.compile else [self.network]

    def problems(self, clip: Clip) -> list[str]:
        """Expressions that the model cannot read, one sentence per problem."""
        try:
            self._tokens(clip)
        except InputError as error:
            return [f"clip {clip.name!r}: {problem}" for problem in error.problems]
        if not self.checkpoint.small:
            return []
        return unknown_word_problems(
            clip.name,
            f"{self.settings.weights} is a small network of ours that",
            unknown_words(self.tokenizer, self.language, [e.text for e in clip.expressions]),
            known_words(self.tokenizer),
            "Use these words, or give `weights` of the official code, or masks on disk with predictions=FOLDER",
        )

    def predict(self, clip: Clip) -> Prediction:
        """The masks of every expression of the clip, see `Adapter.predict`."""
        spans = self.spans(len(clip))
        try:
            with torch.no_grad():
                words = text.encode(self.network.language_model, self.language, self._tokens(clip))
                one_query = getattr(self.settings, "query", "window") == "video" and len(spans) > 1
                query = self._query_of_video(clip, spans, words) if one_query else None
                answers = [self._answers(clip, span, words, query=query) for span in spans]
        except torch.cuda.OutOfMemoryError as error:
            raise InputError(
                f"clip {clip.name!r}: {self.procedure.name}: the device has no memory left "
                f"({str(error).split('.')[0]}); lower frames_per_step, expressions_per_step or window, or take "
                "precision: bf16"
            ) from None
        return {e.id: self._sequence(clip, answers, i) for i, e in enumerate(clip.expressions)}

    def spans(self, length: int) -> list[range]:
        """The frames that are processed together, in order.

        Args:
            length: number of frames of the clip.
        """
        davis_window = self.procedure.davis_window
        if davis_window is None:  # every frame on its own: as many per pass as memory allows
            window = self.frames_per_step
        elif self.settings.window == "auto":
            window = length if length <= WHOLE else davis_window
        else:
            window = length if self.settings.window == "whole" else self.settings.window
        return [range(a, min(a + window, length)) for a in range(0, length, window)]

    def _open(self) -> SegmenterCheckpoint:
        procedure, s = self.procedure, self.settings
        checkpoint = open_checkpoint(s.weights, procedure.family or procedure.name, s.backbone)
        if not isinstance(checkpoint, SegmenterCheckpoint):
            family = type(checkpoint.family).__name__
            raise InputError(
                f"{procedure.name}: its family {family} does not derive from SegmenterFamily, which a NetworkAdapter "
                f"needs; derive from Adapter, and write `predict` with {family}().open(weights).network()"
            )
        return checkpoint

    def _query_of_video(self, clip: Clip, spans: list[range], words: Text) -> Tensor:
        """The query of each expression with the best score over all frames, int64 [E]."""
        scores = [self._answers(clip, span, words, masks_for="none").query_scores * len(span) for span in spans]
        return sum(scores).argmax(1).to(self.device)

    def _answers(self, clip: Clip, span: range, words: Text, query: Tensor | None = None, **options: Any) -> Answer:
        """The answer of the network to all expressions in some frames; on the host, logits as float16."""
        s = self.settings
        images = preprocess.read(clip, span, self._input_size(clip), self.procedure.resize).to(self.device)
        step = s.expressions_per_step or len(words)
        groups, answers = math.ceil(len(words) / step), []
        done, total = span.start * (1 + groups), len(clip) * (1 + groups)  # encoding a frame counts as one group
        with device.autocast(self.device, s.precision, *self._converted):
            with progress.inner(done, done + len(span), total):
                features = self.network.encode(images, self.frames_per_step)
            for n, start in enumerate(range(0, len(words), step), start=1):
                progress.advance(done + n * len(span), total)
                part = slice(start, start + step)
                options["query"] = None if query is None else query[part]
                answer = self.network.answer(features, words[part], self.frames_per_step, **options)
                answers.append(self._on_host(answer))
        progress.advance(span.stop, len(clip))
        return join(answers)

    def _sequence(self, clip: Clip, answers: list[Answer], i: int) -> MaskSequence:
        """The masks of expression i over all windows."""
        p = self.procedure
        logits = np.concatenate([answer.logits[i].numpy() for answer in answers])  # [T, h4, w4]
        rule = getattr(self.settings, "upsample", "bilinear")
        if rule == "auto":  # published weights: as released; our own: without the steps of "nearest"
            rule = "x4_bilinear" if self.checkpoint.small else "x4_nearest"
        inside = None if rule == "bilinear" else self._input_size(clip)
        scores = None if p.score is None else np.concatenate([answer.scores[i].numpy() for answer in answers])
        notes: dict[str, Any] = {"model": f"{p.name} {self.checkpoint.backbone}", "score_source": p.score or p.without}
        if p.davis_window is not None:  # otherwise queries have no identity across frames
            notes["query"] = [int(answer.query[i]) for answer in answers]
            notes["query_scores"] = [[round(x, 4) for x in answer.query_scores[i].tolist()] for answer in answers]
        return MaskSequence.prob(LogitMasks(logits, tuple(clip.size), rule, inside), scores, **notes)

    def _input_size(self, clip: Clip) -> tuple[int, int]:
        s, p = self.settings, self.procedure
        short = s.short_side if s.short_side != "auto" else p.small_side if self.checkpoint.small else p.short_side
        return preprocess.input_size(clip.size, short, s.long_side, p.resize)

    def _tokens(self, clip: Clip) -> list[list[int]]:
        return tokenize(self.tokenizer, self.language, [e.text for e in clip.expressions])

    def _on_host(self, answer: Answer) -> Answer:
        """The answer on the host, logits as float16 and shifted so that `threshold` is at 0."""
        t = self.settings.threshold
        logits = answer.logits
        if logits is not None:
            if logits.isnan().any():
                raise InputError(
                    f"{self.procedure.name}: its masks are NaN at precision {self.settings.precision}; take bf16 or "
                    "fp32, and check the file with `weights verify`"
                )
            logits = (logits.float() - math.log(t / (1 - t))).clamp(-HIGHEST, HIGHEST).half().cpu()
        scores = None if answer.scores is None else answer.scores.float().cpu()
        return Answer(answer.query_scores.float().cpu(), answer.query.cpu(), answer.boxes.float().cpu(), scores, logits)

    @property
    def _tokenizer_folder(self) -> str | None:
        """The setting `tokenizer`; small weights have a tokenizer in this package by default."""
        return self.settings.tokenizer or (str(self.language.small) if self.checkpoint.small else None)

    def _tokenizer_problems(self) -> list[str]:
        """Whether the tokenizer belongs to another language model."""
        expected = self.checkpoint.vocabulary
        if expected == self.tokenizer.get_vocab_size():
            return []
        where = tokenizer_files(self.language, self._tokenizer_folder)[0]
        return [
            f"{where}: a tokenizer of {self.tokenizer.get_vocab_size()} entries, expected {expected} as the text "
            f"encoder in {self.checkpoint.path} has; take that of {self.language.name}"
        ]
