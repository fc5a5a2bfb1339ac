"""Which JSON file of a video tool a file is, by its content, so that a wrong one can be named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import read_file
from rvos_ensemble.adapters.core.io.hashing import Stamp
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.messages import printable
from rvos_ensemble.adapters.files.scores import COMPLAINT, LARGE, SCORES, load_json

Layout = Literal["coco_rle", "sa2va"]


def mask_layout(stamp: Stamp) -> Layout:
    """The layout of the masks in a JSON file; "coco_rle" for an unknown content, which its reader reports.

    Raises:
        InputError: the file is something else; the message says what, and where it belongs.
    """
    try:
        content: Any = load_json(stamp)
    except InputError as error:
        content = _list(stamp)
        if content is None:
            raise InputError(f"{error}{_prose(stamp)}") from error
        _refuse_other(content, stamp[0])
        raise
    _refuse_other(content, stamp[0])
    inner = _first(_first(content))
    return "sa2va" if isinstance(inner, dict) and "prediction_masks" in inner else "coco_rle"


def _refuse_other(content: Any, path: str) -> None:
    for form in OTHERS:
        if form.recognise(content):
            raise InputError(f"{path}: this is {form.what}; {form.advice}")


def _list(stamp: Stamp) -> list | None:
    """The list in a JSON file; None for another content."""
    if stamp[1] > LARGE:
        return None
    try:
        content = read_json(stamp[0], complaint=COMPLAINT)
    except InputError:
        return None
    return content if isinstance(content, list) else None


def _prose(stamp: Stamp) -> str:
    """What a file without JSON begins with, if it is a text; an answer of a language model, for example."""
    start = read_file(stamp[0], most=max(stamp[1], 1), first=200).decode("utf-8", "replace").strip()
    text = printable(start.splitlines()[0][:60]) if start else ""
    return f'; it begins with "{text}"' if text and text.isprintable() and text[0] not in '{["' else ""


def _first(container: Any) -> Any:
    """The first entry of an object, other than scores, or of a list; None if there is none."""
    if isinstance(container, Mapping):
        return next((container[key] for key in container if key != SCORES), None)
    return container[0] if isinstance(container, list) and container else None


class Form(NamedTuple):
    """A file that is no masks of expressions.

    Attributes:
        what: its name.
        advice: where it belongs.
        recognise: content -> whether it is such a file.
    """

    what: str
    advice: str
    recognise: Callable[[Any], bool]


def _has(value: Any, *keys: str) -> bool:
    return isinstance(value, Mapping) and any(key in value for key in keys)


OTHERS = (
    Form(
        "a pred.json of SAM3-agent: masks of one frame",
        "give the folder of all of them to the adapter `seeds`",
        lambda c: _has(c, "pred_masks"),
    ),
    Form(
        "a file of seeds: masks of single frames",
        "use the adapter `seeds`",
        lambda c: isinstance(_first(_first(c)), list) and _has(_first(_first(_first(c))), "mask"),
    ),
    Form(
        "meta_expressions.json, the expressions of a data set",
        "it has no masks; `data.meta` may name it",
        lambda c: _has(c, "videos") and _has(_first(c["videos"]), "expressions"),
    ),
    Form(
        "mask_dict.json, the ground truth of annotations",
        "it is read beside meta_expressions.json by the data set `mevis`, and has no predictions of expressions",
        lambda c: isinstance(c, Mapping) and isinstance(_first(c), list) and _is_rle(c),
    ),
    Form(
        "an answer of a language model",
        "give the folder of all answers to the step `gate` as verdicts, or beside `seeds` as `answers`",
        lambda c: (
            _has(c, "is_match") or (_has(c, "results") and _has(c, "expression_id")) or _has(_first(c), "best_frame")
        ),
    ),
    Form(
        "a list of COCO detections",
        "use the adapter `proposals`",
        lambda c: isinstance(c, list) and _has(_first(c), "segmentation"),
    ),
    Form(
        "a list of key frames",
        "name it in `key_frame: {rule: given, file: FILE}` of a step",
        lambda c: _has(_first(c), "selected_frames") or _has(_first(_first(c)), "index_info"),
    ),
    Form(
        "scores per frame without masks",
        "call it STEM.scores.json beside the masks, or name it in `scores`",
        lambda c: type(_first(_first(_first(c)))) in (int, float) and isinstance(_first(_first(c)), list),
    ),
    Form(
        "one value for each expression",
        "key frames belong into `key_frames`, verdicts about existence into the step `gate`",
        lambda c: isinstance(_first(c), Mapping) and type(_first(_first(c))) in (int, float, bool, str),
    ),
)
"""Other JSON files, from the most to the least particular; the first that is recognised is named."""


def _is_rle(annotations: Mapping[str, Any]) -> bool:
    """Whether the first mask that is not empty, among those of a few annotations, is an RLE."""
    for _, masks in zip(range(8), annotations.values(), strict=False):
        if isinstance(masks, list) and (masks := [mask for mask in masks if mask is not None]):
            return _has(masks[0], "counts")
    return False
