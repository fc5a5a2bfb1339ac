"""Whether an expression about a scene of `shapes` refers to nothing, judged by each object drawn alone."""

from dataclasses import replace
from itertools import combinations

import numpy as np
from helpers.shapes_reading import HEIGHTS, named, parse

from rvos_ensemble.adapters.datasets.shapes.render import draw


class Whole:
    """All of each object that lies in the frame, hidden or not: without shaking, each is drawn alone."""

    def __init__(self, scene, times, size):
        self.scene = replace(scene, conditions=replace(scene.conditions, shake=0.0))
        self.times, self.size = times, size
        self.column = len(scene.objects) < len(scene.things)
        alone = [self.ids(thing) for thing in scene.objects]
        self.areas = np.stack([ids.sum((1, 2)) for ids in alone], axis=1)  # [T, N]
        y, x = (np.indices(size).reshape(2, 1, *size).T + 0.5).T / np.reshape(size, (2, 1, 1, 1))
        self.centres = np.stack(
            [np.stack([(ids * p).sum((1, 2)) / np.maximum(ids.sum((1, 2)), 1) for p in (x, y)], 1) for ids in alone], 1
        )  # [T, N, 2], (x, y) in units of the frame; meaningless without area

    def ids(self, *things) -> np.ndarray:
        """What is seen of the first of some things, bool [T, H, W]."""
        order = [thing for thing in self.scene.things if thing in things]
        own = [thing for thing in self.scene.objects if thing in things].index(things[0]) + 1
        return np.stack([p.ids == own for p in draw(replace(self.scene, things=tuple(order)), self.times, self.size)])

    def path(self, k: int) -> np.ndarray:
        """Centres in frame heights while it is in the frame, [t, 2]."""
        return self.centres[self.areas[:, k] > 0, k] * HEIGHTS

    def hidden(self, k: int, by) -> float:
        """The largest fraction of object k, of what is in the frame, that another thing hides."""
        seen = self.ids(self.scene.objects[k], by).sum((1, 2))
        return float((1 - seen / np.maximum(self.areas[:, k], 1))[self.areas[:, k] > 0].max(initial=0))


def could_hold(whole: Whole, k: int, what: str) -> bool:
    """Whether a claim could be understood to hold for object k (from 0), for some part of the clip."""
    path, areas, objects = whole.path(k), whole.areas[:, k], whole.scene.objects
    present = areas > 0.02 * areas.max()
    if not len(path):
        return False
    if what.startswith("that moves"):
        axis, sign = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}[what.split()[-1]]
        return any(sign * (b - a)[axis] > 0.25 for a, b in combinations(path, 2))
    if what == "that turns back":
        return any(
            (far := np.hypot(*(b - a))) > 0.2 and np.hypot(*(c - a)) < 0.6 * far for a, b, c in combinations(path, 3)
        )
    if what in ("that stays in place", "that hardly moves"):
        return all(np.hypot(*(b - a)) < 0.2 for a, b in combinations(path, 2))
    if what.endswith(("left", "right", "top", "bottom", "at first", "at the end")):
        axis, sign = next(v for key, v in SIDES.items() if key in what)
        there = sign * (whole.centres[areas > 0, k, axis] - 0.5)
        if "at first" in what or "starts" in what:
            there = there[:1]
        elif "at the end" in what or "ends" in what:
            there = there[-1:]
        return bool((there > 0).any())
    if what in ("that leaves", "that enters", "that comes in", "that leaves and comes back", "that stays in view"):
        changes = "".join("1" if p else "0" for p, q in zip(present, [None, *present], strict=False) if p != q)
        pattern = {"that leaves": "10", "that leaves and comes back": "101", "that stays in view": None}.get(what, "01")
        return changes == "1" if pattern is None else pattern in changes
    if what in ("that gets larger", "that gets smaller"):
        sign = 1 if "larger" in what else -1
        return any(sign * np.log2(b / a) > 0.8 for a, b in combinations(areas[present], 2))
    if what == "that spins":
        return abs(objects[k].turn) > 1
    if what == "that does not turn":
        return abs(objects[k].turn) * np.ptp(whole.times[areas > 0]) < 1
    others = [thing for j, thing in enumerate(whole.scene.things) if thing is not objects[k]]
    if what == "that passes behind the column":
        return any(whole.hidden(k, other) > 0.05 for other in others if other not in objects)
    if what == "that passes behind another":
        return any(whole.hidden(k, other) > 0.05 for other in others)
    if what == "that is hidden for a while":
        return any(whole.hidden(k, other) > 0.5 for other in others)
    if what == "that passes in front of another":
        return whole.column or any(whole.hidden(j, objects[k]) > 0.05 for j in range(len(objects)) if j != k)
    return True  # superlatives, and claims that can be understood in several ways


SIDES = {"left": (0, -1), "right": (0, 1), "top": (1, -1), "bottom": (1, 1)}


def check_nothing(whole: Whole, text: str) -> list[tuple[str, bool]]:
    """Asserts that an expression fits no object; returns its claims, and whether its noun fits an object."""
    appearances = [thing.appearance for thing in whole.scene.objects]
    result = []
    for part in text.split(" and the "):
        noun, what = parse(part if part.startswith("the ") else f"the {part}")
        fit = named(noun, appearances)
        for j in fit:
            where = f"{whole.scene.name}: {text!r} could be object {j + 1}"
            assert what and not could_hold(whole, j, what), where
        result.append((what, bool(fit)))
    return result
