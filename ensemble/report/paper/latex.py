"""Tables in LaTeX, in the style of the package booktabs, with every name escaped."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Sequence

from rvos_ensemble.ensemble.metrics.gains import Gain
from rvos_ensemble.ensemble.report.paper.table import SYMBOLS, Line, ScoreTable, signed

# Characters that do not stand for themselves.
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}
ACCENTS = "\u0300\u0301\u0302\u0303\u0308\u030a\u030c\u0327"  # combining: grave, acute, ..., ring, caron, cedilla
ENGINES = "some characters need xelatex or lualatex and a font that has them"


def escape(text: str) -> str:
    r"""Plain text as LaTeX.

    >>> escape("soc_aot & 50 %")
    'soc\\_aot \\& 50 \\%'
    """
    plain = "".join(SPECIAL.get(c, c) for c in _one_line(text))
    apart = re.sub(r"([-`'?!,])(?=[-`',])", r"\1{}", plain)  # no ligatures: -- would be one dash
    return re.sub(r"^([\[*])", r"{\1}", apart)  # after the end of a row, these would be arguments of it


def latex(table: ScoreTable) -> str:
    """The file of a table, for \\input: comments, and a tabular with the highest value of each column in bold."""
    gains = table.gain_of is not None
    head = [escape(table.first), *(SYMBOLS.get(c, escape(c)) for c in table.columns)]
    if gains:
        head.append(rf"$\Delta$ {SYMBOLS.get(table.gain_of, escape(table.gain_of))} [95\,\% interval]")
    lines = [
        *_comments([table.heading, *table.notes, r"Needs \usepackage{booktabs}. Scores in percent."]),
        rf"\begin{{tabular}}{{l{'c' * len(table.columns)}{'l' * gains}}}",
        r"\toprule",
        f"{' & '.join(head)} \\\\",
        r"\midrule",
    ]
    best = table.best()
    for line, texts in zip(table.lines, table.written(), strict=True):
        if line.ruled:
            lines.append(r"\midrule")
        lines.append(_row(line, texts, best, gains))
    text = "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])
    return text if _for_pdflatex(text) else f"% {ENGINES}\n{text}"


def _row(line: Line, texts: Sequence[str], best: Sequence[str], gains: bool) -> str:
    """A row; its note is a comment."""
    cells = [
        rf"\textbf{{{t}}}" if t and t == b and line.ranked else t or "--" for t, b in zip(texts, best, strict=True)
    ]
    if gains:
        cells.append(_gain(line.gain))
    comment = f" % {_one_line(line.note)}" if line.note else ""
    return f"{' & '.join([escape(line.label), *cells])} \\\\{comment}"


def _gain(gain: Gain | None) -> str:
    """A difference with its interval, in percent.

    >>> _gain(Gain(0.012, -0.001, 0.025))
    '$+1.2$ [$-0.1$, $+2.5$]'
    """
    if gain is None or gain.delta != gain.delta:
        return "--"
    delta, low, high = (f"${signed(v)}$" for v in gain)
    return delta if gain.mark == "?" else f"{delta} [{low}, {high}]"


def _comments(sentences: Sequence[str]) -> list[str]:
    return [f"% {line}" for sentence in sentences for line in textwrap.wrap(_one_line(sentence), 110)]


def _one_line(text: str) -> str:
    """The text without line breaks and control characters, which would end a comment or a row."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()


def _for_pdflatex(text: str) -> bool:
    """Whether pdflatex has all characters in its default fonts: ASCII, and its letters with common accents."""
    used = "".join(re.sub(r"(?<!\\)%.*", "", line) for line in text.splitlines())
    return all(c.isascii() or c in ACCENTS for c in unicodedata.normalize("NFD", used))
