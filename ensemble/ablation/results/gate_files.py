"""The files of a swept gate: gate.csv, and pictures of the scores against tau and of N-acc against T-acc."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rvos_ensemble.adapters.core.io.disk import atomic_write
from rvos_ensemble.ensemble.ablation.gate import Comparison
from rvos_ensemble.ensemble.report.paper.figures import curves
from rvos_ensemble.ensemble.report.paper.style import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = np.linspace(0, 1, 21)  # of T-acc


def write(folders: Sequence[Path], title: str, found: Comparison) -> None:
    """Writes gate.csv, and gate and gate_accuracies as .svg and .pdf."""
    whole = found.sweep[found.sweep.clips == "all"]
    for folder in folders:
        atomic_write(folder / "gate.csv", found.sweep.to_csv(index=False, float_format="%.17g"))
    save(scores_figure(title, found.curves, found.expected), "gate", *folders)
    save(accuracies_figure(title, whole), "gate_accuracies", *folders)


def scores_figure(title: str, swept: pd.DataFrame, expected: float) -> Figure:
    """Final, N-acc, T-acc and J&F against tau, in percent.

    Args:
        title: text above the plot.
        swept: rows ascending in tau; see `ablation.gate.sweep`.
        expected: Final of the rule `expected_final`, a dashed line.
    """
    lines = {name: (100 * swept[name]).tolist() for name in ("Final", "N-acc", "T-acc", "J&F")}
    reference = (f"expected_final: {100 * expected:.1f}", 100 * expected)
    note = "an expression is emptied if its presence is below tau; all clips, percent"
    return curves(title, "tau", swept.tau.round(2).tolist(), lines, None, reference, note)


def accuracies_figure(title: str, swept: pd.DataFrame) -> Figure:
    """The highest N-acc that a tau reaches with at least a given T-acc, in percent."""
    n, t = swept["N-acc"].to_numpy(), swept["T-acc"].to_numpy()
    best = [100 * float(n[t >= level].max()) if (t >= level).any() else math.nan for level in LEVELS]
    note = "right answers to expressions that refer to nothing (N-acc) and to something (T-acc); all clips, percent"
    return curves(title, "T-acc of at least", (100 * LEVELS).round().tolist(), {"N-acc": best}, None, None, note)
