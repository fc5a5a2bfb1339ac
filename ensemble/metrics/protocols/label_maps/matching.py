"""Which object of a prediction is compared with which object of the ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rvos_ensemble.ensemble.metrics.protocols.label_maps.object_scores import ObjectPairs
from rvos_ensemble.ensemble.metrics.scores import Scores


def match_by_number(
    pairs: ObjectPairs, objects: Sequence[int], late_objects: str, empty_empty: float
) -> Iterator[tuple[dict[str, Any], Scores]]:
    """Compares object i of the prediction with object i of the ground truth.

    Args:
        pairs: scores of all pairs of objects.
        objects: numbers of the objects that count.
        late_objects: "vosbench" counts each object from the first frame that shows it, "davis" in all frames.
        empty_empty: the score of a frame where both are empty.

    Yields:
        (columns that identify the object, its scores).
    """
    for i in objects:
        scores = pairs.scores(i, i, empty_empty)
        if late_objects == "vosbench":
            scores = scores[int(np.argmax(pairs.shown(i))) :]
        yield {"object": i}, scores


def match_by_value(
    pairs: ObjectPairs, objects: Sequence[int], empty_empty: float
) -> Iterator[tuple[dict[str, Any], Scores]]:
    """Assigns proposals to objects so that the sum of their mean (J + F) / 2 is the greatest.

    Objects without a proposal are compared with empty masks. The order is that of the proposals, as in the official
    code.

    Args:
        pairs: scores of all pairs of objects.
        objects: numbers of the objects that count.
        empty_empty: the score of a frame where both are empty.

    Yields:
        (columns that identify the object and its proposal, 0 for none; its scores).
    """
    count = pairs.highest()
    table = {
        (p, k): pairs.scores(p, i, empty_empty)
        for p in range(1, max(count, len(objects)) + 1)
        for k, i in enumerate(objects)
    }
    value = np.zeros((max(count, len(objects)), len(objects)))
    for (p, k), scores in table.items():
        value[p - 1, k] = (np.mean(scores.J) + np.mean(scores.F)) / 2
    chosen = assign(value)
    for k in np.argsort(chosen).tolist():
        p = chosen[k] + 1
        yield {"object": objects[k], "proposal": p if p <= count else 0}, table[p, k]


def assign(value: np.ndarray) -> list[int]:
    """For each column one row, with no row used twice, so that the sum of the chosen values is the greatest.

    The official evaluation calls the same SciPy function, so ties are resolved in the same way.

    Args:
        value: float64 [R, C], with R at least C.

    Returns:
        The row of each column.

    Raises:
        ValueError: fewer rows than columns.

    >>> assign(np.array([[0.9, 0.8], [0.7, 0.1], [0.0, 0.0]]))
    [1, 0]
    """
    from scipy.optimize import linear_sum_assignment  # importing it takes half a second: only where it is needed

    if len(value) < value.shape[1]:
        raise ValueError(f"{len(value)} rows for {value.shape[1]} columns: pad with rows of value 0")
    rows, columns = linear_sum_assignment(value, maximize=True)
    return rows[np.argsort(columns)].tolist()
