"""Whether predictions have the layout that a protocol expects, which of them are missing, and which are not scored."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.ensemble.metrics.protocols.shared.trees import MaskFiles, Tree

LABELS, BINARY = "a label map per frame, VIDEO/FRAME.png", "a mask per expression, VIDEO/EXPRESSION/FRAME.png"


def check_layout(tree: Tree, videos: Sequence[str], expected: str) -> list[str]:
    """Problems with the layout of the predictions of some videos: another layout, or both layouts in one video.

    Args:
        tree: of the predictions.
        videos: their names.
        expected: `LABELS` or `BINARY`.
    """
    other, problems = [], []
    for video in videos:
        folders, files = tree.storage.entries(f"{tree.top}{video}")
        pictures = [f for f in files if f.endswith(".png")]
        if folders and pictures:
            problems.append(
                f"{tree.storage.where(tree.top + video)}: both folders ({first_few(folders, 3)}) and PNG files "
                f"({first_few(pictures, 3)}): mixed layouts; expected {expected}"
            )
        elif pictures if expected == BINARY else folders:
            other.append(video)
    if other:
        actual = LABELS if expected == BINARY else BINARY
        problems.append(
            f"{tree.where}: {actual} in video {first_few(other, 3)}; this protocol expects {expected}. "
            f"`run_ensemble.py list` shows which protocol takes which"
        )
    return problems


def strays(tree: Tree, videos: Collection[str]) -> list[str]:
    """Notes on what is not scored: videos that are not in the ground truth, and files beside the videos."""
    folders, files = tree.storage.entries(tree.top)
    notes = []
    if more := sorted(set(folders) - set(videos)):
        notes.append(f"not in gt and ignored: {len(more)} videos of pred: {first_few(more, 3)}")
    if files:
        notes.append(f"ignored: {len(files)} files beside the videos of pred: {first_few(files, 3)}")
    return notes


def missing_masks(
    tree: Tree, masks: Mapping[str, MaskFiles], frames: Mapping[str, Sequence[str]], what: str
) -> list[str]:
    """Which predictions are missing: one sentence for those that are missing entirely, one for each incomplete one.

    Args:
        tree: of the predictions.
        masks: {VIDEO or VIDEO/EXPRESSION: its masks}.
        frames: {the same: names of the frames}.
        what: "videos" or "expressions".
    """
    absent, sentences = [], []
    for name, files in masks.items():
        gone = [frame for frame, file in zip(frames[name], files.names, strict=True) if file is None]
        if gone and len(gone) == len(files):
            absent.append(name)
        elif gone:
            sentences.append(
                f"{tree.storage.where(tree.top + name)}: {len(gone)} of {len(files)} frames are missing: "
                f"{first_few([f'{frame}.png' for frame in gone])}"
            )
    if absent:
        sentences.insert(0, f"{tree.where}: {len(absent)} of {len(masks)} {what} are missing: {first_few(absent)}")
    return sentences


def settle_missing(sentences: Sequence[str], policy: str) -> list[str]:
    """Notes on missing predictions, for a value of the option `missing`: "error", "zero" or "empty".

    Raises:
        InputError: the value is "error", and predictions are missing.
    """
    if policy == "error" and sentences:
        raise InputError([*sentences, "missing=zero scores such frames 0, missing=empty takes them for empty masks"])
    effect = "they score 0" if policy == "zero" else "they count as empty masks"
    return [f"{sentence}; {effect}" for sentence in sentences]
