"""What every network of this folder takes and gives: frames once per clip, then the expressions, many at once.

    network = SOC("video_swin_b_p4w7", text_encoder)
    features = network.encode(frames)          # [T, 3, h, w], once per clip, knows no text
    answer = network.answer(features, text)    # E expressions at once

A network holds its own language model (`network.language_model`), because the official checkpoints hold its weights;
`adapters.networks.text` runs it and makes the `Text`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Text:
    """E expressions as a language model sees them, padded to the longest.

    Args:
        states: last hidden states, float [E, L, D].
        padding: bool [E, L], True where there is no token; a token comes first in every row.
        sentence: pooled state, float [E, D]; None where the model uses none (UNINEXT).
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
    """What a network says of E expressions in T frames.

    With `masks_for="all"` logits, boxes and scores are of every query, with an axis Q after E.

    Args:
        query_scores: float [E, Q], score of each query for the whole clip; [E, T, Q] where each frame is asked on its
            own (UNINEXT).
        query: int64 [E], the query that answers (UNINEXT: [E, T]); the best one unless it was given.
        boxes: float [E, T, 4], (cx, cy, width, height) of that query, in 0..1 of the frame.
        scores: float [E, T], P: the score of that query in each frame; None where the model has none (MUTR).
        logits: float [E, T, h4, w4], mask logits of that query at a quarter of the input's size (rounded up);
            None with `masks_for="none"`.
    """

    query_scores: Tensor
    query: Tensor
    boxes: Tensor
    scores: Tensor | None
    logits: Tensor | None


class Network(nn.Module):
    """A referring segmentation network.

    Built as `Network(backbone, text_encoder)`, with the parameter names of the official checkpoints, `text_encoder`
    being the language model as a module. Inference only.
    """

    backbones: tuple[str, ...] = ()  # the names of the published ones

    @property
    def language_model(self) -> nn.Module:
        """The text encoder, wherever the checkpoint keeps it."""
        return self.text_encoder

    def fold(self) -> Network:
        """Itself, made ready for inference; names may change, results do not."""
        return self.eval()

    def encode(self, frames: Tensor, frames_per_step: int | None = None) -> Any:
        """Everything that does not depend on the text.

        Args:
            frames: float [T, 3, h, w], normalised as the model wants it.
            frames_per_step: at most so many frames at once, to bound memory; None: all. The numbers stay the same.

        Returns:
            Features of the clip, for `answer` alone to look into.
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
            frames_per_step: at most so many frames, counted once per expression, at once; None: all.
            masks_for: the selected query, all of them, or none (scores alone, to choose a query over many clips).
            query: int64 [E], the query to take; None: the one of the best score.
        """
        raise NotImplementedError


def join(answers: Sequence[Answer]) -> Answer:
    """Answers to several groups of expressions as one."""
    columns = {f.name: [getattr(answer, f.name) for answer in answers] for f in fields(Answer)}
    return Answer(**{name: None if parts[0] is None else torch.cat(parts) for name, parts in columns.items()})


def in_steps(function: Callable, step: int | None, *inputs: Tensor):
    """function(*inputs), at most `step` rows of the inputs at once.

    Args:
        function: from B rows of each input to B rows: a tensor, or a tuple of tensors.
        step: None: all rows at once.
        inputs: tensors of equally many rows.

    >>> in_steps(lambda x: x + 1, 2, torch.arange(3))
    tensor([1, 2, 3])
    """
    rows = len(inputs[0])
    if step is None or rows <= step:
        return function(*inputs)
    whole: list[Tensor] = []
    for start in range(0, rows, step):
        found = function(*(x[start : start + step] for x in inputs))
        parts = (found,) if isinstance(found, Tensor) else found
        # filled as it comes: the whole lies in memory once, not a second time in parts
        whole = whole or [part.new_empty(rows, *part.shape[1:]) for part in parts]
        for place, part in zip(whole, parts, strict=True):
            place[start : start + step] = part
    return whole[0] if isinstance(found, Tensor) else tuple(whole)
