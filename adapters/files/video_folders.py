"""Where the folders of videos lie in a folder or a zip of masks.

They lie at the top, or in folders that archives usually contain: `Annotations`, the folder of a split, or a folder that
is the only one at its level.
"""

from __future__ import annotations

from collections.abc import Collection

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.files.storage import Storage

WRAPPERS = ("Annotations", "480p", "valid", "valid_u", "test", "train")  # folders that are searched
DEPTH = 4  # levels that are searched


def parent_of_all(storage: Storage) -> str:
    """The folder that holds the folders of all videos, where their names are unknown; see `find_parent`."""
    at = ""
    for _ in range(DEPTH):
        inner = [folder for folder in storage.entries(at)[0] if folder in WRAPPERS]
        if len(inner) != 1:
            break
        at = f"{at}{inner[0]}/"
    return at


def find_parent(storage: Storage, names: Collection[str], start: str = "") -> str | None:
    """The folder that holds the folders of some videos.

    Args:
        storage: where they lie.
        names: of the folders, at least one of which must be present.
        start: where the search starts, "" or a path with `/` at its end.

    Returns:
        Its path with `/` at its end, "" for the top; None where none of the names is present.

    Raises:
        InputError: several folders hold some of them, or none does and a folder cannot be read.
    """
    wanted, parents, level, unreadable = set(names), [], [start], []
    for _ in range(DEPTH):
        below = []
        for at in level:
            try:
                folders, files = storage.entries(at)
                for name in wanted.intersection(files):
                    storage.entries(f"{at}{name}")  # raises for a link to itself, which is listed as a file
            except InputError as error:
                unreadable += error.problems
                continue
            if not wanted.isdisjoint(folders):
                parents.append(at)
            others = [f for f in folders if f not in wanted]
            below += [f"{at}{f}/" for f in others if len(folders) == 1 or f in WRAPPERS]
        level = below
    if unreadable and not parents:
        raise InputError(unreadable)
    if len(parents) > 1:
        places = " and ".join(storage.where(at) for at in parents)
        where = storage.where(start) if start else storage.root
        raise InputError(
            f"{where}: {first_few(sorted(wanted), 3)} in several places: {places}; give the path of the one to use"
        )
    return parents[0] if parents else None
