"""The results of an ablation before they are written."""

from __future__ import annotations

from dataclasses import dataclass, field

from rvos_ensemble.ensemble.ablation.rows import REFERENCE, Row, best_of, scored_on_all, verdict


@dataclass
class Outcome:
    """The results of an ablation.

    Attributes:
        rows: the reference first.
        notes: for the reader.
        how: how the best row was chosen, in words.
        failed: {clip: why}.
        tried: further rows for the csv, of the half of the clips that was searched.
        searched: whether the best row was chosen on clips that the rows do not report; it is the first after the
            reference.
        kept: on the clips that were searched, no setting scored higher than the reference.
    """

    rows: list[Row]
    notes: list[str]
    how: str
    failed: dict[str, str]
    tried: list[Row] = field(default_factory=list)
    searched: bool = False
    kept: bool = False

    @property
    def best(self) -> Row:
        """The chosen row. After a search it is the first choice on the other half, not the luckiest on this one."""
        if self.kept:
            return self.rows[0]
        if not self.searched:
            return best_of(self.rows)
        return next(iter(scored_on_all(self.rows)[1:]), self.rows[0])

    @property
    def verdict(self) -> str:
        """One sentence about the chosen row."""
        if self.kept:
            return f"Best: {REFERENCE}. On the half searched, no setting scores higher."
        return verdict(self.rows, self.best)
