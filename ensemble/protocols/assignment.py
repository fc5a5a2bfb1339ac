"""Which prediction goes with which object: the assignment of greatest total value."""

from __future__ import annotations

import numpy as np


def assign(value: np.ndarray) -> list[int]:
    """For each column the row it is given, no row twice, so that the sum of their values is the greatest.

    Columns are served one after another; each takes the cheapest chain of rows that change hands (shortest augmenting
    path; the duals keep all costs reduced). Of equally short chains the one that ends at a free row is taken, and rows
    are looked at from the last to the first: scipy's order, so that ties fall as in the official evaluation.

    Args:
        value: float64 [R, C], R at least C.

    Source: Crouse, On implementing 2D rectangular assignment algorithms, IEEE TAES 2016.

    >>> assign(np.array([[0.9, 0.8], [0.7, 0.1], [0.0, 0.0]]))
    [1, 0]
    """
    rows, columns = value.shape
    if rows < columns:
        raise ValueError(f"{rows} rows for {columns} columns: pad with rows of value 0")
    cost = -value.T
    dual_column, dual_row = np.zeros(columns), np.zeros(rows)
    owner, given = [-1] * rows, [-1] * columns  # row -> column, column -> row
    for start in range(columns):
        distance, came_from = np.full(rows, np.inf), [-1] * rows
        left, reached, passed = list(range(rows - 1, -1, -1)), [], []
        column, so_far = start, 0.0
        while True:
            passed.append(column)
            best = None
            for row in left:
                through = so_far + cost[column, row] - dual_column[column] - dual_row[row]
                if through < distance[row]:
                    distance[row], came_from[row] = through, column
                if (
                    best is None
                    or distance[row] < distance[best]
                    or (distance[row] == distance[best] and owner[row] < 0)
                ):
                    best = row
            so_far = distance[best]
            if owner[best] < 0:
                break
            left[left.index(best)] = left[-1]
            left.pop()
            reached.append(best)
            column = owner[best]
        dual_column[start] += so_far
        for column in passed[1:]:
            dual_column[column] += so_far - distance[given[column]]
        for row in reached:
            dual_row[row] -= so_far - distance[row]
        row = best
        while row >= 0:  # hand the rows of the chain on
            column = came_from[row]
            owner[row] = column
            given[column], row = row, given[column]
    return given
