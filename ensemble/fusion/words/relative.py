"""Cues that compare tracklets: place, order, size, and motion. Each gives a fit in 0..1 per tracklet."""

from __future__ import annotations

import numpy as np

from rvos_ensemble.ensemble.fusion.words.tracks import Tracks

SPEED = 0.1  # share of the frame that a tracklet must move to count as half moving
GROWTH = 0.35  # logarithm of the growth of the area that counts as clearly nearer


def place_fit(value: str, tracks: Tracks, peers: np.ndarray) -> np.ndarray:
    """How well each tracklet is at a place: half by its position in the frame, half by its rank among its peers.

    Args:
        value: "left", "right", "top", "bottom", "middle", "front" or "back".
        tracks: the measurements.
        peers: bool [P]: those that the object is compared with.
    """
    position = towards(value, tracks)
    return 0.5 * position + 0.5 * rank(position, peers)


def order_fit(value: str, number: int, tracks: Tracks, peers: np.ndarray) -> np.ndarray:
    """Whether each tracklet is the n-th from a side among its peers: 1 for it, less for its neighbours."""
    position = towards(value, tracks)
    before = np.array([(position[_others(peers, i)] > p).sum() for i, p in enumerate(position)])
    return 0.3 ** np.abs(before - (number - 1)).astype(np.float64)


def size_fit(value: str, tracks: Tracks, peers: np.ndarray) -> np.ndarray:
    """The rank of each tracklet by area, or by height for "tall", among its peers."""
    size = (
        tracks.mean(tracks.height) if value == "tall" else tracks.mean(np.where(tracks.area > 0, tracks.area, np.nan))
    )
    return rank(-size if value == "small" else size, peers)


def motion_fit(value: str, tracks: Tracks) -> np.ndarray:
    """How well each tracklet moves as said, after the motion of the camera is subtracted.

    Args:
        value: "moving", "still", "fastest", "slowest", "turning", "left", "right", "up", "down", "nearer" or "farther".
        tracks: the measurements.
    """
    steps = np.stack([tracks.x, tracks.y], -1) - tracks.camera  # [P, F, 2]
    first, last = (np.array([_seen(s, end) for s in steps]) for end in (0, -1))
    net = last - first  # [P, 2]
    path = np.array([np.linalg.norm(np.diff(s[np.isfinite(s[:, 0])], axis=0), axis=1).sum() for s in steps])
    moving = path / (path + SPEED)
    if value in ("moving", "still"):
        return moving if value == "moving" else 1 - moving
    if value in ("fastest", "slowest"):
        return rank(path if value == "fastest" else -path, np.ones(len(path), bool))
    if value == "turning":
        return moving * (1 - np.linalg.norm(net, axis=1) / np.maximum(path, 1e-6))
    if value in ("nearer", "farther"):
        area = np.where(tracks.area > 0, tracks.area, np.nan)[..., None]
        growth = np.array([np.log(_seen(a, -1)[0]) - np.log(_seen(a, 0)[0]) for a in area])
        return _sigmoid((growth if value == "nearer" else -growth) / GROWTH)
    axis, sign = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}[value]
    return _sigmoid(3 * sign * net[:, axis] / SPEED)


def towards(value: str, tracks: Tracks) -> np.ndarray:
    """How far each tracklet is towards a side, 0..1, from its mean position.

    "front" and "back" are judged by the lower edge: on flat ground, what is nearer stands lower in the picture.
    """
    x, y = tracks.mean(tracks.x), tracks.mean(tracks.y)
    bottom = tracks.mean(tracks.bottom)
    middle = np.clip(1 - 2 * np.abs(x - 0.5), 0, 1)
    return {"left": 1 - x, "right": x, "top": 1 - y, "up": 1 - y, "bottom": y, "down": y, "middle": middle,
            "front": bottom, "back": 1 - bottom}[value]  # fmt: skip


def rank(values: np.ndarray, peers: np.ndarray) -> np.ndarray:
    """The share of its peers that have a lower value, for each tracklet; 1 without peers. Ties count half.

    >>> rank(np.array([1.0, 3.0, 2.0]), np.array([True, True, False])).tolist()
    [0.0, 1.0, 0.5]
    """
    result = np.ones(len(values))
    for i, value in enumerate(values):
        others = values[_others(peers, i)]
        if len(others):
            result[i] = ((others < value).sum() + 0.5 * (others == value).sum()) / len(others)
    return result


def _others(peers: np.ndarray, i: int) -> np.ndarray:
    """The peers of a tracklet without itself, bool [P]."""
    others = peers.copy()
    others[i] = False
    return others


def _seen(values: np.ndarray, end: int) -> np.ndarray:
    """The first (0) or last (-1) row of [F, C] without NaN; ones if there is none."""
    seen = values[np.isfinite(values).all(1)]
    return seen[end] if len(seen) else np.ones(values.shape[1])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -50, 50)))
