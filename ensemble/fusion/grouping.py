"""Which expressions of a clip refer to the same object, so that their masks may be fused.

Ref-YouTube-VOS lists two expressions per object, in order, but does not say which: 20 of the 507 videos of its valid
and test sets have an odd number of expressions. Fusing expressions of two objects yields the union of both, the worst
possible failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import choice, number, path
from rvos_ensemble.ensemble.fusion.grouping_file import groups_of, read_groups
from rvos_ensemble.ensemble.fusion.same_object import neighbour_ious, pairs_in_order, runs_of_masks

RULES = ("auto", "obj_id", "file", "pairs", "runs", "none")
SETTINGS: dict[str, Any] = {"rule": choice(*RULES), "file": path(None), "min_iou": number(0.3, least=0, most=1)}


def check_settings(settings: Mapping[str, Any], where: str) -> None:
    """Checks a recipe's `grouping` as far as that is possible without clips.

    Raises:
        InputError: unknown keys, wrong values, or a file that does not exist or does not hold groups.
    """

    def file_problems(values: dict[str, Any]) -> list[str]:
        """What is wrong with the file of the rule `file`."""
        if values.get("rule") != "file" or "file" not in values:
            return []
        try:
            read_groups(values["file"])
        except InputError as error:
            return [f"{where}: {problem}" for problem in error.problems]
        return []

    merge_settings(SETTINGS, dict(settings), where, file_problems)


def possible_sizes(clip: Clip, rule: str = "auto", file: str | None = None, min_iou: float = 0.3) -> list[set[int]]:
    """The sizes of a clip's groups before any mask is known: one set per possible grouping.

    >>> from rvos_ensemble.adapters.core.clip import Expression
    >>> clip = Clip("v", ("0",), tuple(Expression("v", str(i), "") for i in range(3)), None)
    >>> possible_sizes(clip, "pairs"), possible_sizes(clip, "runs")
    ([{1, 2}], [{1}, {1, 2}])

    Raises:
        InputError: see `group_expressions`.
    """
    known = all(e.objects for e in clip.expressions)
    if rule == "runs" or (rule == "auto" and not known):
        count = len(clip.expressions)  # runs of one or two: of an odd number, at least one expression is alone
        return [{1}] if count < 2 else [{1}, {2} if count % 2 == 0 else {1, 2}]
    return [{len(group) for group in group_expressions(clip, (), rule, file, min_iou)}]


def group_expressions(
    clip: Clip, models: Sequence[Prediction], rule: str = "auto", file: str | None = None, min_iou: float = 0.3
) -> list[list[str]]:
    """Expression ids of a clip, grouped by object.

    Args:
        clip: the clip.
        models: predictions of the clip, which only the rules `runs` and `auto` read.
        rule: how expressions are grouped.
            `obj_id`: by the objects that the data set lists.
            `file`: by a json file {clip: [[id, ...], ...]}.
            `pairs`: (0, 1), (2, 3), ... in order, an odd last one alone: the rule of the 2023 winners, unchecked.
            `runs`: in order, one or two per object, decided by the masks of the models; see `runs_of_masks`.
            `none`: every expression alone.
            `auto`: `obj_id` where the data set lists objects; else, where it lists two expressions per object, pairs
            unless the masks contradict them, see `pairs_in_order`; else `runs`.
        file: for the rule `file`.
        min_iou: for the rule `runs`; the pairs of `auto` need half of it.

    Returns:
        Groups in order of their first expression; every expression is in exactly one group.

    Raises:
        InputError: an unknown rule, unknown objects, or a file that does not fit the clip.
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
        return _by_objects(clip)
    if rule == "file":
        return groups_of(clip, file)
    if rule == "runs":
        return runs_of_masks(neighbour_ious(models, ids), ids, min_iou)
    raise InputError(f"grouping: unknown rule {shown(rule)}. Valid: {', '.join(RULES)}")


def _by_objects(clip: Clip) -> list[list[str]]:
    """Groups of the expressions whose objects are the same."""
    if not all(e.objects for e in clip.expressions):
        raise InputError(f"clip {clip.name!r}: the data set does not say which object an expression means; use `runs`")
    groups: dict[tuple, list[str]] = {}
    for e in clip.expressions:
        groups.setdefault(tuple(sorted(e.objects)), []).append(e.id)
    return list(groups.values())
