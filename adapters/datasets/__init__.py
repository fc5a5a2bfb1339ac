"""Data sets: one reader per benchmark layout, and `shapes`, the embedded default that renders itself."""

from __future__ import annotations

from typing import ClassVar

from rvos_ensemble.adapters.core.clip import BadClips, Clip
from rvos_ensemble.adapters.core.component import Component


class Dataset(Component):
    """A benchmark: which clips, expressions and frames there are, and the ground truth where it has one."""

    zip_root: ClassVar[str] = "Annotations/"  # top folder inside the submission zip; "" for none

    def prepare(self) -> None:
        """Makes the files there, for a data set that renders itself; others have nothing to do."""

    def clips(self) -> list[Clip]:
        """Every clip, sorted by name.

        Raises:
            BadClips: some clips cannot be used; it carries the others.
            InputError: naming everything that is missing or malformed, and sinks the whole.
        """
        raise NotImplementedError

    def check(self) -> list[str]:
        """Every problem of the files behind the clips, found from names and headers.

        Missing folders, frames and annotations, unreadable headers, sizes that differ inside a clip, objects that no
        annotation has; one line each, naming the file, the first few of a kind per clip.

        Raises:
            InputError: from `clips`, when not even these can be listed.
        """
        try:
            clips, found = self.clips(), []
        except BadClips as error:
            clips, found = error.clips, error.problems
        return [*found, *(sentence for clip in clips for sentence in clip.problems())]
