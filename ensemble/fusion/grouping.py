"""Which expressions of a clip mean the same object, so that their masks may be fused.

Ref-YouTube-VOS lists two expressions per object, in order, but hides which: 20 of the 507 videos of its valid and test
sets have an odd count, and fusing expressions of two objects yields the union of both, the worst possible failure.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.disk import read_json, user_path
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence, PackedMasks
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import choice, number, shown, text

RULES = ("auto", "obj_id", "file", "pairs", "runs", "none")
SETTINGS: dict[str, Any] = {"rule": choice(*RULES), "file": text(None), "min_iou": number(0.3, least=0, most=1)}
EVEN_START = 0.05  # a pair that starts at an even position is a little more likely: objects come two by two


def check_settings(settings: Mapping[str, Any], where: str) -> None:
    """What can be said of a recipe's `grouping` before there are clips.

    Raises:
        InputError: unknown keys, wrong values, a file that is not there or holds something else.
    """

    def file_problems(given: dict[str, Any]) -> list[str]:
        if given.get("rule") != "file" or "file" not in given:
            return []
        try:
            _read_table(given["file"])
        except InputError as error:
            return [f"{where}: {problem}" for problem in error.problems]
        return []

    merge_settings(SETTINGS, dict(settings), where, file_problems)


def possible_sizes(clip: Clip, rule: str = "auto", file: str | None = None, min_iou: float = 0.3) -> list[set[int]]:
    """The sizes of the groups of a clip, as far as they do not depend on masks: one set for every way it may turn out.

    >>> from rvos_ensemble.adapters.core.clip import Expression
    >>> clip = Clip("v", ("0",), tuple(Expression("v", str(i), "") for i in range(3)), None)
    >>> possible_sizes(clip, "pairs"), possible_sizes(clip, "runs")
    ([{1, 2}], [{1}, {1, 2}])

    Raises:
        InputError: see `group_expressions`.
    """
    known = all(e.objects for e in clip.expressions)
    if rule == "runs" or (rule == "auto" and not known):
        count = len(clip.expressions)  # runs of one or two: of an odd count one is alone at least
        return [{1}] if count < 2 else [{1}, {2} if count % 2 == 0 else {1, 2}]
    return [{len(group) for group in group_expressions(clip, (), rule, file, min_iou)}]


def group_expressions(
    clip: Clip, models: Sequence[Prediction], rule: str = "auto", file: str | None = None, min_iou: float = 0.3
) -> list[list[str]]:
    """Expression ids of a clip, grouped by object.

    Args:
        clip: the clip.
        models: their predictions, read by the rules `runs` and `auto` only.
        rule: `obj_id`: what the data set says. `file`: a json {clip: [[id, ...], ...]}. `pairs`: (0, 1), (2, 3), ... in
            order, an odd last one alone: the 2023 winners' rule, unchecked. `runs`: in order, one or two an object,
            as the masks of the models tell; see `runs_of_masks`. `none`: every expression alone. `auto`: `obj_id`
            where the data set gives it; where it lists two an object, pairs that the masks do not deny, see
            `pairs_in_order`; else `runs`.
        file: for the rule `file`.
        min_iou: for the rule `runs`, half of it for the pairs of `auto`.

    Returns:
        Groups in order of their first expression; every expression is in exactly one.

    Raises:
        InputError: an unknown rule, objects that are not known, a file that does not fit the clip.
    """
    ids = [e.id for e in clip.expressions]
    known = all(e.objects for e in clip.expressions)
    if rule == "auto":
        rule = "obj_id" if known else "runs"
        if not known and clip.in_pairs and (groups := pairs_in_order(neighbour_ious(models, ids), ids, min_iou / 2)):
            return groups
    if rule == "none":
        return [[i] for i in ids]
    if rule == "pairs":
        return [ids[i : i + 2] for i in range(0, len(ids), 2)]
    if rule == "obj_id":
        if not known:
            raise InputError(
                f"clip {clip.name!r}: the data set does not say which object an expression means; use `runs`"
            )
        groups: dict[tuple, list[str]] = {}
        for e in clip.expressions:
            groups.setdefault(tuple(sorted(e.objects)), []).append(e.id)
        return list(groups.values())
    if rule == "file":
        return _groups_of_file(clip, ids, file)
    if rule == "runs":
        return runs_of_masks(neighbour_ious(models, ids), ids, min_iou)
    raise InputError(f"grouping: unknown rule {shown(rule)}. Valid: {', '.join(RULES)}")


def neighbour_ious(models: Sequence[Prediction], ids: Sequence[str]) -> np.ndarray:
    """IoU over the whole video of the masks of each two neighbours (i, i + 1), float [models, expressions - 1]."""
    packed = [[pack(model[i]) for i in ids] for model in models]
    return np.array([[sequence_iou(a, b) for a, b in pairwise(masks)] for masks in packed]).reshape(
        len(models), max(0, len(ids) - 1)
    )


def runs_of_masks(ious: np.ndarray, ids: Sequence[str], min_iou: float) -> list[list[str]]:
    """Cuts the ordered expressions into runs of one or two that the masks say are the same object.

    Dynamic programme over neighbours: a pair is worth the mean over models of the IoU of its two mask sequences over
    the whole video, less `min_iou`, plus a small prior where it starts at an even position; a single is worth 0. A
    pair that does not reach `min_iou` in at least half of the models is never made.

    Args:
        ious: see `neighbour_ious`.
        ids: expression ids in order.
        min_iou: below this, two expressions are not the same object.

    Returns:
        Groups in order.
    """
    n = len(ids)
    worth = np.full(n, -np.inf)  # worth[i]: of the pair (i, i + 1)
    for i in range(n - 1):
        if np.mean(ious[:, i] >= min_iou) >= 0.5:
            worth[i] = ious[:, i].mean() - min_iou + (EVEN_START if i % 2 == 0 else 0)
    best = np.zeros(n + 1)  # best[i]: of the expressions from i on
    paired = [False] * n
    for i in reversed(range(n)):
        best[i] = best[i + 1]
        if i + 1 < n and worth[i] + best[i + 2] > best[i]:
            best[i], paired[i] = worth[i] + best[i + 2], True
    groups, i = [], 0
    while i < n:
        size = 2 if paired[i] else 1
        groups.append(list(ids[i : i + size]))
        i += size
    return groups


def pairs_in_order(ious: np.ndarray, ids: Sequence[str], least: float) -> list[list[str]]:
    """Pairs (0, 1), (2, 3), ...; of an odd count one expression is alone, the one that leaves the pairs most alike.

    So a pair holds together where the models misunderstand one of its two, as long as others do not: the rest of the
    clip says that its expressions come two by two.

    Args:
        ious: see `neighbour_ious`.
        ids: expression ids in order.
        least: mean IoU over pairs and models below which they are none.

    Returns:
        Groups in order; none where the masks say that these are no pairs.
    """
    n = len(ids)
    if n < 2:
        return []
    alike = ious.mean(0)  # of each two neighbours
    alone = max(range(0, n, 2), key=lambda k: alike[:k:2].sum() + alike[k + 1 :: 2].sum()) if n % 2 else n
    starts = [*range(0, alone, 2), *range(alone + 1, n, 2)]
    if alike[starts].mean() < least:
        return []
    return [list(ids[i:j]) for i, j in pairwise(sorted({*starts, alone, n}))]


def pack(sequence: MaskSequence) -> PackedMasks:
    """Its masks in memory, one bit a pixel."""
    if isinstance(sequence.masks, PackedMasks):
        return sequence.masks
    return PackedMasks.pack(sequence.mask(t) for t in range(len(sequence)))


def sequence_iou(a: PackedMasks, b: PackedMasks) -> float:
    """IoU over the whole video: the intersections' sum over the unions' sum; 0 when both are empty everywhere.

    Two expressions of which nothing is seen are no evidence for the same object, hence 0.
    """
    union = int(np.bitwise_count(a.bits | b.bits).sum(dtype=np.int64))
    return int(np.bitwise_count(a.bits & b.bits).sum(dtype=np.int64)) / union if union else 0.0


EXPECTED = "{clip: [[expression id, ...], ...]}"


def _read_table(file: str | None) -> dict[str, Any]:
    """{clip: groups} of a json file; the groups of a clip are looked at when they are needed.

    Raises:
        InputError: no file, or one that holds something else.
    """
    if not file:
        raise InputError(f"rule `file` needs `grouping.file`, a json {EXPECTED}")
    path = user_path(file)
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        raise InputError(f"{file}: no such file, named by grouping.file") from None
    table = _json(str(path), stat.st_mtime_ns, stat.st_size)
    if not isinstance(table, dict):
        raise InputError(f"{file}: a {type(table).__name__}, expected {EXPECTED}")
    return table


@lru_cache(maxsize=4)
def _json(path: str, mtime: int, size: int) -> Any:
    return read_json(path)


def _groups_of_file(clip: Clip, ids: Sequence[str], file: str | None) -> list[list[str]]:
    table = _read_table(file)
    if clip.name not in table:
        raise InputError(f"{file}: no groups for clip {clip.name!r}")
    found = table[clip.name]
    if not isinstance(found, list) or not all(isinstance(g, list) and g and all(map(_is_id, g)) for g in found):
        raise InputError(f"{file}: clip {clip.name!r} has {shown(found)}, expected [[expression id, ...], ...]")
    groups = [[str(i) for i in group] for group in found]
    listed = [i for group in groups for i in group]
    if sorted(listed) != sorted(ids):
        raise InputError(f"{file}: clip {clip.name!r} groups {shown(listed)}, expected each of {shown(list(ids))} once")
    return groups


def _is_id(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)
