"""Clips without pictures: masks are enough for steps that read no frames, such as votes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png


@dataclass(frozen=True)
class NoPictures:
    """Takes the place of the frames of a clip if the data set has no pictures. Only their size is known, from masks.

    Attributes:
        folder: where the pictures would be, for messages.
        mask: a PNG mask of the clip, whose header states the size; None if there is none.
        known: (H, W), where masks of another format state it.
    """

    folder: str
    mask: Path | None = None
    known: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels, as masks state it.

        Raises:
            InputError: no masks state it.
        """
        if self.known is None and self.mask is None:
            raise InputError(f"{self.absence}, and no masks on disk state the size of its frames")
        return self.known or png.size(self.mask)

    @property
    def absence(self) -> str:
        """The sentence that there are no pictures, without a full stop."""
        return f"{self.folder}: no such folder, so that the data set has no pictures"

    def read(self, t: int) -> np.ndarray:
        """No frame can be read.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self.absence}, but frame number {t} is needed")

    def fingerprint(self) -> str:
        """No frame can be hashed; only what reads frames asks for it.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self.absence}, but they are needed")

    def problems(self) -> list[str]:
        """Whether the size is unknown; that there are no pictures is a problem only of what reads them."""
        try:
            self.size  # noqa: B018  it is read
        except InputError as error:
            return error.problems
        return []

    def inspect(self) -> list[str]:
        """The same as `problems`."""
        return self.problems()
