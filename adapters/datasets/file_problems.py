"""What is wrong with the image files of a clip: missing, unreadable or of differing sizes, a few sentences per clip."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few

FEW = 3  # problems of one kind that are described one by one per folder
MANY = 100  # file names listed of the remaining ones


def file_problems(
    paths: Sequence[Path],
    size_of: Callable[[Path], tuple[int, int]],
    what: str,
    size: tuple[int, int] | None = None,
) -> list[str]:
    """What is wrong with the files of one clip.

    Args:
        paths: files of one folder, in the order of frames.
        size_of: reads (H, W) of a file.
        what: "frames" or "annotations", for the messages.
        size: the size that all should have; by default that of the first readable file.
    """
    folder = paths[0].parent
    if problem := _folder_problem(folder):
        return [f"{folder}: {problem}, expected {len(paths)} {what} in it, {paths[0].name} to {paths[-1].name}"]
    missing = [path.name for path in paths if not os.path.lexists(path)]
    problems = (
        [f"{folder}: {len(missing)} of {len(paths)} {what} missing: {first_few(missing, FEW)}"] if missing else []
    )
    absent, unreadable, differing = set(missing), [], []
    for path in paths:
        if path.name in absent:
            continue
        try:
            this = size_of(path)
        except InputError as error:
            unreadable.append((path.name, error.problems[0]))
            continue
        size = size or this
        if this != size:
            differing.append((path.name, other_size(path, this, size)))
    for group in (unreadable, differing):
        problems += [sentence for _, sentence in group[:FEW]]
        if rest := [name for name, _ in group[FEW:]]:
            problems.append(f"{folder}: and {len(rest)} more {what} like this: {first_few(rest, MANY)}")
    return problems


def other_size(path: Path, size: Sequence[int], expected: Sequence[int]) -> str:
    """The message about a file whose size differs from that of the clip."""
    return f"{path}: {size[0]}x{size[1]} (HxW), expected {expected[0]}x{expected[1]} like the clip's other frames"


def _folder_problem(folder: Path) -> str | None:
    try:
        os.stat(os.path.join(folder, "."))  # the dot makes the system check the permission to search the folder too
        return None
    except FileNotFoundError:
        return "no such folder"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
