"""The interface of segmentation networks: frames are encoded once per clip, then many expressions at once.

    network = SOC("video_swin_b_p4w7", text_encoder)
    features = network.encode(frames)          # [T, 3, h, w], once per clip, without text
    answer = network.answer(features, text)    # E expressions at once

A network contains its language model (`network.language_model`), because the official checkpoints hold its weights;
`adapters.networks.text` runs it and returns the `Text`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.core import progress


@dataclass(frozen=True)
class Text:
    """E expressions as encoded by a language model, padded to the longest.

    Args:
        states: last hidden states, float [E, L, D].
        padding: bool [E, L], True after the last token; every row starts with a token.
        sentence: pooled state, float [E, D]; None if the model does not use it (UNINEXT).
    """

    states: Tensor
    padding: Tensor
    sentence: Tensor | None = None

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, part: slice) -> Text:
        """Some of the expressions, without the columns that are padding in all of them."""
        length = int((~self.padding[part]).sum(1).max())
        sentence = None if self.sentence is None else self.sentence[part]
        return Text(self.states[part, :length], self.padding[part, :length], sentence)


@dataclass(frozen=True)
class Answer:
    """The output of a network for E expressions in T frames.

    With `masks_for="all"` logits, boxes and scores are those of every query, with an axis Q after E.

    Args:
        query_scores: float [E, Q], score of each query for the whole clip; [E, T, Q] if each frame is processed on
            its own (UNINEXT).
        query: int64 [E], the selected query (UNINEXT: [E, T]); the best one unless the caller chose it.
        boxes: float [E, T, 4], (cx, cy, width, height) of that query, in 0..1 of the frame.
        scores: float [E, T], P: the score of that query in each frame; None if the model has none (MUTR).
        logits: float [E, T, h4, w4], mask logits of that query at a quarter of the input's size (rounded up);
            None with `masks_for="none"`.
    """

    query_scores: Tensor
    query: Tensor
    boxes: Tensor
    scores: Tensor | None
    logits: Tensor | None


class Network(nn.Module):
    """A referring segmentation network, with the parameter names of the official checkpoints.

    It is built as `Network(backbone, text_encoder)`, where `text_encoder` is the language model as a module.
    """

    backbones: tuple[str, ...] = ()  # names of the published ones

    @property
    def language_model(self) -> nn.Module:
        """The text encoder, wherever the checkpoint has it."""
        return self.text_encoder

    def fold(self) -> Network:
        """Prepares the network for inference in place and returns it; parameter names may change, results do not."""
        return self.eval()

    def encode(self, frames: Tensor, frames_per_step: int | None = None) -> Any:
        """Everything that does not depend on the text.

        Args:
            frames: float [T, 3, h, w], normalised as the model expects.
            frames_per_step: frames per forward pass, to bound memory; None for all. Results do not change.

        Returns:
            Features of the clip, whose type only `answer` needs to know.
        """
        raise NotImplementedError

    def answer(
        self,
        features: Any,
        text: Text,
        frames_per_step: int | None = None,
        masks_for: Literal["selected", "all", "none"] = "selected",
        query: Tensor | None = None,
    ) -> Answer:
        """The masks of E expressions.

        Args:
            features: what `encode` returned.
            text: E expressions.
            frames_per_step: frames per forward pass, counted once per expression; None for all.
            masks_for: the selected query, all queries, or none (scores only, to choose a query over several windows).
            query: int64 [E], the query to select; None selects the one with the best score.
        """
        raise NotImplementedError


def join(answers: Sequence[Answer]) -> Answer:
    """Concatenates the answers to several groups of expressions."""
    columns = {f.name: [getattr(answer, f.name) for answer in answers] for f in fields(Answer)}
    return Answer(**{name: None if parts[0] is None else torch.cat(parts) for name, parts in columns.items()})


def in_steps(function: Callable, step: int | None, *inputs: Tensor):
    """function(*inputs), evaluated for at most `step` rows of the inputs at once.

    Args:
        function: maps B rows of each input to B rows: a tensor, or a tuple of tensors.
        step: None for all rows at once.
        inputs: tensors with the same number of rows.

    >>> in_steps(lambda x: x + 1, 2, torch.arange(3))
    tensor([1, 2, 3])
    """
    rows = len(inputs[0])
    if step is None or rows <= step:
        return function(*inputs)
    whole: list[Tensor] = []
    for start in range(0, rows, step):
        result = function(*(x[start : start + step] for x in inputs))
        parts = (result,) if isinstance(result, Tensor) else result
        # filled part by part, so that the whole result is in memory only once
        whole = whole or [part.new_empty(rows, *part.shape[1:]) for part in parts]
        for place, part in zip(whole, parts, strict=True):
            place[start : start + step] = part
        progress.advance_inner(start + step, rows)
    return whole[0] if isinstance(result, Tensor) else tuple(whole)
