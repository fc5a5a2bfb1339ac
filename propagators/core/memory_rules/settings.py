"""The settings of the memory rules, which several propagators share; each rule is off by default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.settings import choice, either, number, table, text, whole

# DAM4SAM; see admission.py
DISTRACTORS: dict[str, Any] = {
    "min_iou": number(0.8, least=0, most=1),  # a frame with a higher predicted IoU is reliable
    "area_change": number(0.2, least=0, most=1),  # and its area is 0.8 to 1.2 of the usual one,
    "areas": whole(10, least=1),  # the median of the last 10 areas that are not 0
    "window": whole(300, least=1),  # among the last 300 frames
    "max_box_iou": number(0.7, least=0, most=1),  # a candidate that extends the box of the mask more is a distractor
    "apart": whole(5),  # frames with distractors are more than 5 frames apart
    "anchors": whole(3, least=1),  # limit of the frames with distractors, the latest ones; key frames are apart from it
    "recent": whole(3, least=1),  # limit of the recent frames, the previous one included
    "gap": whole(5, least=1),  # frames between two recent frames that stay
}
# SAM2Long; see pathways.py
PATHWAYS: dict[str, Any] = {
    "count": whole(3, least=1, most=16),
    "uncertainty": number(2.0, least=0),  # an object score (logit) that is farther from 0 is certain
    "min_iou": number(0.1, least=0, most=1),  # frames with a lower predicted IoU are not remembered
}
RULES: dict[str, dict[str, Any]] = {"distractors": DISTRACTORS}

SCENE_CUT = number(None, least=0, below=1)
ADMISSION = either(
    None,
    choice(None, *RULES),
    table(below={"rule": text(), **DISTRACTORS}),
    null=True,
    what="distractors, or {rule: distractors, settings...}",
)
COUNT = PATHWAYS["count"]
PATHWAY = either(1, COUNT, table(below=PATHWAYS), what="a whole number from 1 to 16, or {count: 3, settings...}")


def admission_of(value: str | Mapping[str, Any] | None, where: str = "admission") -> dict[str, Any] | None:
    """The values of all settings of the rule of admission; None if there is none.

    >>> admission_of({"rule": "distractors", "anchors": 2})["anchors"], admission_of(None)
    (2, None)

    Raises:
        InputError: no such rule, unknown settings, values out of range.
    """
    if value is None:
        return None
    values = {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else {"rule": value}
    name = values.pop("rule", None)
    if not isinstance(name, str) or name not in RULES:
        raise InputError(f"{where}: no rule is called {shown(name)}. Valid: {', '.join(RULES)}")
    return merge_settings(RULES[name], values, f"{where} {name}")


def pathways_of(value: int | Mapping[str, Any], where: str = "pathways") -> dict[str, Any] | None:
    """The values of all settings of the pathways; None for a single pathway, which is the network's own rule.

    >>> pathways_of(3), pathways_of({"count": 2, "uncertainty": 0})["uncertainty"], pathways_of(1)
    ({'count': 3, 'uncertainty': 2.0, 'min_iou': 0.1}, 0, None)

    Raises:
        InputError: unknown settings, values out of range.
    """
    values = {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else {"count": value}
    merged = merge_settings(PATHWAYS, values, where)
    return None if merged["count"] == 1 else merged


def relations(settings: Mapping[str, Any], name: str) -> Iterator[str]:
    """Problems of `admission` and `pathways`, alone and together.

    Args:
        settings: those whose values are valid by themselves.
        name: the propagator.
    """
    values = []
    for key, read, default in (("admission", admission_of, None), ("pathways", pathways_of, 1)):
        try:
            values.append(read(settings.get(key, default), f"{name}: {key}"))
        except InputError as error:
            yield from error.problems
    if len(values) == 2 and None not in values:
        yield f"{name}: `admission` and `pathways` do not go together: each says which frames are remembered"
