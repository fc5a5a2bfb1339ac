"""What predictions lack, what they have too much, and whether they are laid out as a protocol expects."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.ensemble.metrics.protocols.trees import Masks, Tree

LABELS, BINARY = "a label map per frame, VIDEO/FRAME.png", "a mask per expression, VIDEO/EXPRESSION/FRAME.png"


def check_layout(tree: Tree, videos: Sequence[str], expected: str) -> list[str]:
    """What is wrong with the layout of the predictions of some videos: another one, or both at once.

    Args:
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
        found = LABELS if expected == BINARY else BINARY
        problems.append(
            f"{tree.where}: {found} in video {first_few(other, 3)}; this protocol expects {expected}. "
            f"`run_ensemble.py list` shows which protocol takes which"
        )
    return problems


def strays(tree: Tree, videos: Collection[str]) -> list[str]:
    """Notes on what is left out of the scores: videos that are not in the ground truth, files beside the videos."""
    folders, files = tree.storage.entries(tree.top)
    notes = []
    if more := sorted(set(folders) - set(videos)):
        notes.append(f"not in gt and passed over: {len(more)} videos of pred: {first_few(more, 3)}")
    if files:
        notes.append(f"passed over: {len(files)} files beside the videos of pred: {first_few(files, 3)}")
    return notes


def missing(tree: Tree, masks: Mapping[str, Masks], frames: Mapping[str, Sequence[str]], what: str) -> list[str]:
    """What the predictions lack: a sentence on all of which there is nothing, one on each of which there is a part.

    Args:
        tree: of the predictions.
        masks: {VIDEO or VIDEO/EXPRESSION: its masks}.
        frames: {the same: names of the frames}.
        what: "videos" or "expressions".
    """
    absent, sentences = [], []
    for name, of_one in masks.items():
        gone = [frame for frame, file in zip(frames[name], of_one.names, strict=True) if file is None]
        if gone and len(gone) == len(of_one):
            absent.append(name)
        elif gone:
            sentences.append(
                f"{tree.storage.where(tree.top + name)}: {len(gone)} of {len(of_one)} frames are missing: "
                f"{first_few([f'{frame}.png' for frame in gone])}"
            )
    if absent:
        sentences.insert(0, f"{tree.where}: {len(absent)} of {len(masks)} {what} are missing: {first_few(absent)}")
    return sentences


def settle_missing(sentences: Sequence[str], policy: str) -> list[str]:
    """Notes on missing predictions, by the option `missing`: "error", "zero" or "empty".

    Raises:
        InputError: it is "error", and there are some.
    """
    if policy == "error" and sentences:
        raise InputError([*sentences, "missing=zero scores such frames 0, missing=empty takes them for empty masks"])
    fate = "they score 0" if policy == "zero" else "they count as empty masks"
    return [f"{sentence}; {fate}" for sentence in sentences]
