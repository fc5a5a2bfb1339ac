"""How figures look, whatever the user's matplotlibrc says; the same figure gives the same file, byte for byte."""

from __future__ import annotations

import contextlib
import io
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rvos_ensemble.adapters.core.io.disk import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")  # Okabe & Ito, for colour-blind readers
MARKERS = ("o", "s", "^", "D", "v")
SETTINGS = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 9,
    "text.parse_math": False,  # names of steps and files may contain $
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text, which can be searched and edited
    "svg.hashsalt": "rvos_ensemble",  # ids of elements are the same in every file
    "pdf.fonttype": 42,  # TrueType, which conferences ask for
}
UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
WIDTH = 7.2  # inches
LINE = 105  # characters of a title or note on one line


def save(figure: Figure, name: str, *folders: Path) -> None:
    """Writes NAME.svg and NAME.pdf."""
    for kind, content in rendered(figure).items():
        for folder in folders:
            atomic_write(folder / f"{name}.{kind}", content)


def rendered(figure: Figure) -> dict[str, bytes]:
    """The content of the files of a figure, {"svg": ..., "pdf": ...}."""
    files = {}
    with styled():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it is laid out now, and once is enough
        for kind, metadata in UNDATED.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata)
            files[kind] = buffer.getvalue()
    return files


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's own defaults and the settings above; the settings of the process are restored at the end."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def new_figure(title: str, height: float, note: str = "", width: float = WIDTH) -> tuple[Figure, Axes]:
    """A figure with one plot; it needs no display.

    Args:
        title: text above the plot.
        height, width: in inches.
        note: small text below it.
    """
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    axes = figure.add_subplot()
    characters = int(LINE * width / WIDTH)
    axes.set_title(textwrap.fill(title, characters))
    if note:
        figure.supxlabel(textwrap.fill(note, int(1.15 * characters)), fontsize=8, color="#555555")
    return figure, axes
