"""My propagator: the line that `run_ensemble.py list` would show.

Copy this file, write `step`, and name it in a recipe: `propagators: {flow: {propagator: path/to/my_propagator.py}}`.
In this folder, a file `my_propagator.py` is `propagator: my_propagator`. `tests/propagators/test_propagate.py` checks
every propagator of this folder; run it on yours too.
"""

from collections.abc import Mapping

import cv2
import numpy as np

from rvos_ensemble.propagators.core.propagator import Frame, Propagator


class MyPropagator(Propagator):
    """My propagator, in one line."""

    # Every setting that a recipe may set; `"???"` marks a required one. A value must have the type of its default;
    # adapters/core/settings.py has ranges and choices: {"reach": whole(9, least=1)}
    defaults = {"reach": 9}  # pixels that the outline of an object moves per frame, at most

    def sweep(self, size: tuple[int, int], sequences: int) -> "MySweep":
        """A new pass in one direction; load weights in `__init__`, not here."""
        return MySweep(self.settings.reach)


class MySweep:
    """One pass with a clean memory: the latest mask of every sequence, and the previous frame."""

    def __init__(self, reach: int):
        self.kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
        self.masks: dict[int, np.ndarray] = {}  # {sequence: bool [H, W]}
        self.previous: np.ndarray | None = None  # float32 [H, W, 3]

    def step(self, frame: Frame, references: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Moves all masks to the next frame; a reference mask replaces the mask of its sequence.

        Args:
            frame: `frame.image` is uint8 [H, W, 3] RGB.
            references: {sequence: bool [H, W]}, the key masks on this frame.

        Returns:
            {sequence: uint8 [H, W]}, 0..255 means probability 0..1, for every sequence that has had a reference.
        """
        if "my smooth image" not in frame.memo:  # what does not depend on masks is computed once for both sweeps
            frame.memo["my smooth image"] = cv2.blur(frame.image, (3, 3)).astype(np.float32)
        image = frame.memo["my smooth image"]
        self.masks = {i: self._move(mask, image) for i, mask in self.masks.items() if i not in references}
        self.masks |= references
        self.previous = image
        return {i: mask.astype(np.uint8) * np.uint8(255) for i, mask in self.masks.items()}

    def _move(self, mask: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Pixels near the mask whose colour is closer to that of the object than to that of the background."""
        if mask.all() or not mask.any():
            return mask
        colours = self.previous[mask].mean(0), self.previous[~mask].mean(0)
        to_object, to_background = (np.square(image - colour).sum(2) for colour in colours)
        near = cv2.dilate(mask.astype(np.uint8), self.kernel) > 0
        return near & (to_object < to_background)
