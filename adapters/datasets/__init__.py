"""Data sets: one reader per benchmark layout, and `shapes`, the embedded default, which is rendered on first use."""

from __future__ import annotations

from typing import ClassVar

from rvos_ensemble.adapters.core.clip import BadClips, Clip
from rvos_ensemble.adapters.core.component import Component


class Dataset(Component):
    """A benchmark: its clips with their expressions and frames, and its ground truth if it has one."""

    zip_root: ClassVar[str] = "Annotations/"  # top folder inside the submission zip; "" for none
    team_file: ClassVar[bool] = False  # whether the server requires team.json at the root of the zip

    def prepare(self) -> None:
        """Creates the files of a data set that is generated; does nothing by default."""

    def may_have(self, video: str) -> bool:
        """Whether a clip may have this name; False only where names follow a pattern, as those of rendered clips do."""
        return True

    def clips(self) -> list[Clip]:
        """Every clip, sorted by name.

        Raises:
            BadClips: some clips cannot be used; it carries the others.
            InputError: no clip can be used; it names everything that is missing or malformed.
        """
        raise NotImplementedError

    def check(self) -> list[str]:
        """Every problem of the files of the clips that names and headers show.

        Missing folders, frames and annotations, unreadable headers, sizes that differ within a clip, objects that no
        annotation has; one line each, naming the file, and only the first few of each kind per clip.

        Raises:
            InputError: from `clips`, if the clips cannot be listed.
        """
        try:
            clips, problems = self.clips(), []
        except BadClips as error:
            clips, problems = error.clips, error.problems
        return [*problems, *(sentence for clip in clips for sentence in clip.problems())]
