"""Label maps of a data set that names no objects: one PNG per frame, in which the value of a pixel is its object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.files.storage import Storage

VOID = 255  # beside other values: pixels that annotators left undecided; alone: the object of a mask of 0/255


def only_object(values: np.ndarray, where: str) -> np.ndarray:
    """The mask of the only object, bool [H, W]; a picture of 0/255 shows one object as well.

    Raises:
        InputError: several objects.

    >>> only_object(np.uint8([[0, 3, 255]]), "a.png"), only_object(np.uint8([[0, 255]]), "a.png")
    (array([[False,  True, False]]), array([[False,  True]]))
    """
    ids = _ids(values)
    if len(ids) > 1:
        raise InputError(
            f"{where}: objects {ids[0]} and {ids[1]}, and the only expression of the video does not say which one it "
            "means; name it (`obj_id`) in the data set, or set `objects: any` if all of them belong to it"
        )
    return values == ids[0] if ids else np.zeros(values.shape, bool)


def objects_of(storage: Storage, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """{expression: its object} of a video without a data set: "0" of no named object where there is only one.

    Args:
        storage: where the PNGs lie.
        names: all PNGs of the video.
    """
    ids = sorted({i for n in names for i in _ids(png.decode(storage.read(n), storage.where(n)).values)})
    return {"0": ()} if len(ids) < 2 else {str(i): (str(i),) for i in ids}


def _ids(values: np.ndarray) -> list[int]:
    """Numbers of the objects in a picture."""
    present = np.unique(values).tolist()
    return [i for i in present if i not in (0, VOID)] or [i for i in present if i == VOID]
