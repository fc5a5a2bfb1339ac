"""What a network says about an expression in one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Instance:
    """An object in one frame.

    Attributes:
        mask: bool [H, W].
        score: 0..1.
        label: number of its class; 0 where there are no classes.
    """

    mask: np.ndarray
    score: float
    label: int = 0


@dataclass(frozen=True)
class Answer:
    """The instances that an expression refers to in one frame.

    Attributes:
        instances: best first.
        presence: the probability that there are any, 0..1; None if the network does not state it.
    """

    instances: list[Instance]
    presence: float | None = None
