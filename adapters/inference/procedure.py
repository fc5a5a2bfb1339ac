"""How the official code of a model prepares a clip, and what its scores are: attributes of the network adapters."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar


class Procedure:
    """The official inference procedure of a model, as class attributes of its adapter.

    Attributes:
        name: of the adapter.
        settings: of the adapter.
        family: a class that derives from `SegmenterFamily`; None means the family with the adapter's name.
        resize: how the official code rounds sizes: "torchvision" or "detectron2".
        short_side, small_side: of the input in pixels, for published weights and for our own small ones.
        at_once: frames per forward pass where `frames_per_step` is auto, for published weights and for our own.
        davis_window: frames that the official code for Ref-DAVIS processes together; None for a model that processes
            every frame on its own.
        score: what the scores P are, for the notes of a result; None for a model without scores.
        without: why it has none.
    """

    name: str
    settings: SimpleNamespace
    family: ClassVar[type[Any] | None] = None
    resize: ClassVar[str] = "torchvision"
    short_side: ClassVar[int] = 360
    small_side: ClassVar[int] = 96
    at_once: ClassVar[tuple[int, int]] = (8, 8)
    davis_window: ClassVar[int | None] = 36
    score: ClassVar[str | None] = None
    without: ClassVar[str] = ""
