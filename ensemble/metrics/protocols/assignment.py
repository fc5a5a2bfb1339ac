"""Which prediction goes with which object: the assignment of greatest total value."""

from __future__ import annotations

import numpy as np


def assign(value: np.ndarray) -> list[int]:
    """For each column the row it is given, no row twice, so that the sum of their values is the greatest.

    Ties fall as in scipy, which the official evaluation calls: where there are more rows than columns it serves the
    columns, else the rows.

    Args:
        value: float64 [R, C], R at least C.

    >>> assign(np.array([[0.9, 0.8], [0.7, 0.1], [0.0, 0.0]]))
    [1, 0]
    """
    rows, columns = value.shape
    if rows < columns:
        raise ValueError(f"{rows} rows for {columns} columns: pad with rows of value 0")
    return _seats(-value.T) if rows > columns else np.argsort(_seats(-value)).tolist()


def _seats(cost: np.ndarray) -> list[int]:
    """For each guest a seat of its own, at the least total cost.

    Guests are served one after another; each takes the cheapest chain of seats that change hands (the shortest
    augmenting path), while prices of guests and seats keep all reduced costs from falling below zero.

    Args:
        cost: float64 [guests, seats].

    Source: Crouse, On implementing 2D rectangular assignment algorithms, IEEE TAES 2016.
    """
    guests, seats = cost.shape
    of_guest, of_seat = np.zeros(guests), np.zeros(seats)  # the prices
    taken_by, seat_of = [-1] * seats, [-1] * guests
    for newcomer in range(guests):
        length, before = [np.inf] * seats, [-1] * seats  # of the shortest chain to each seat, and its last guest
        open_seats, passed, moved = list(range(seats - 1, -1, -1)), [], []
        guest, so_far = newcomer, 0.0
        while True:
            moved.append(guest)
            for seat in open_seats:
                through = so_far + cost[guest, seat] - of_guest[guest] - of_seat[seat]
                if through < length[seat]:
                    length[seat], before[seat] = through, guest
            so_far = min(length[seat] for seat in open_seats)
            nearest = [seat for seat in open_seats if length[seat] == so_far]
            free = [seat for seat in nearest if taken_by[seat] < 0]
            seat = free[-1] if free else nearest[0]
            if free:
                break
            at = open_seats.index(seat)
            open_seats[at] = open_seats[-1]
            open_seats.pop()
            passed.append(seat)
            guest = taken_by[seat]
        of_guest[newcomer] += so_far
        for guest in moved[1:]:
            of_guest[guest] += so_far - length[seat_of[guest]]
        for other in passed:
            of_seat[other] -= so_far - length[other]
        while seat >= 0:  # the chain changes hands, from its end to the newcomer
            guest = before[seat]
            taken_by[seat] = guest
            seat_of[guest], seat = seat, seat_of[guest]
    return seat_of
