"""Tables for papers: names of any kind are escaped, the best is bold, and the LaTeX compiles."""

import math
import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import run_ensemble
from rvos_ensemble.ensemble.metrics.gains import Gain
from rvos_ensemble.ensemble.report.paper import latex as tex
from rvos_ensemble.ensemble.report.paper import markdown as md
from rvos_ensemble.ensemble.report.paper.latex import latex
from rvos_ensemble.ensemble.report.paper.markdown import markdown
from rvos_ensemble.ensemble.report.paper.table import Line, ScoreTable

HOSTILE = [
    'a_b & 50 % #1 $x$ {y} ~ ^ \\ < > | "q" é',
    "[1, 2] after the end of a row",
    "* after the end of a row",
    "\\end{tabular} \\input{/etc/passwd}",
    "two\n\nlines % and \\\\ a comment",
    "-- ``q'' ?` --- ,,x",
    "",
]
needs_pdflatex = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdflatex is not installed: apt-get install texlive-latex-base"
)


def made(labels=HOSTILE, gain_of="J&F") -> ScoreTable:
    lines = [
        Line(label, [0.5, 0.6, 0.55 + i / 1000, math.nan], Gain(0.012, -0.001, 0.025) if i else None, note=label)
        for i, label in enumerate(labels)
    ]
    columns = ["J", "F", "J&F", "N-acc"]
    return ScoreTable(f"heading {labels[0]}", "name_of_it", columns, lines, gain_of, list(labels))


def compiled(tmp_path, *tables: str) -> str:
    """The text of the PDF, as pdflatex sets the tables; fails where it cannot."""
    for i, table in enumerate(tables):
        (tmp_path / f"{i}.tex").write_text(table, encoding="utf-8")
    body = "\n\n".join(rf"\input{{{i}.tex}}" for i in range(len(tables)))
    document = (
        rf"\documentclass{{article}}\usepackage{{booktabs}}\pdfcompresslevel=0\begin{{document}}{body}\end{{document}}"
    )
    (tmp_path / "paper.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def rows_of(text: str) -> list[str]:
    """The rows of a tabular."""
    return [line.partition(r" \\")[0] for line in text.splitlines() if r" \\" in line and not line.startswith("%")]


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [
        ("a_b", r"a\_b"),
        ("50 %", r"50 \%"),
        ("J&F", r"J\&F"),
        ("#1 ${}", r"\#1 \$\{\}"),
        ("a\\b~^", r"a\textbackslash{}b\textasciitilde{}\textasciicircum{}"),
        ("<|>", r"\textless{}\textbar{}\textgreater{}"),
        ("[1] *", "{[}1] *"),
        ("* [1]", "{*} [1]"),
        ("a--b", "a-{}-b"),
        ("a\n\nb\x00", "a b"),
    ],
)
def test_characters_that_latex_reads_are_escaped(plain, escaped):
    assert tex.escape(plain) == escaped


@settings(max_examples=200)
@given(st.text(st.characters(codec="utf-8")))
def test_no_name_ends_a_cell_a_row_or_a_comment(name):
    table = ScoreTable(name, "x", ["J"], [Line(name, [0.5], note=name), Line("next", [0.4])], None, [name])
    frame = (r"\begin{tabular}{lc}", r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}")
    for line in latex(table).split("\n"):
        assert line.startswith("% ") or line in frame or r" \\" in line or line == ""
    rows = rows_of(latex(table))
    assert len(rows) == 3 and all(len(re.findall(r"(?<!\\)&", row)) == 1 for row in rows)
    lines = [line for line in markdown(table).splitlines() if line.startswith("| ")]
    assert len(lines) == 4 and all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", r)) == 3 + bool(name) for r in lines)


def test_the_best_as_written_is_bold_and_an_upper_bound_is_not():
    lines = [
        Line("a", [0.7004, 0.1, 0.3]),
        Line("b", [0.7001, math.nan, 0.2]),
        Line("oracle", [0.9, 0.9, 0.0], ranked=False),
    ]
    table = ScoreTable("t", "x", ["J", "N-acc", "below oracle"], lines)
    assert rows_of(latex(table))[1:] == [
        r"a & \textbf{70.0} & \textbf{10.0} & 30.0",
        r"b & \textbf{70.0} & -- & 20.0",
        r"oracle & 90.0 & 90.0 & 0.0",
    ]
    assert "| a | **70.0** | **10.0** | 30.0 |" in markdown(table).splitlines()


def test_intervals_are_beside_their_gains():
    text = latex(made(["a", "b"]))
    assert r"b & \textbf{50.0}" in text and "$+1.2$ [$-0.1$, $+2.5$]" in text
    assert "| +1.2 [-0.1, +2.5] |" in markdown(made(["a", "b"]))
    alone = ScoreTable("t", "x", ["J"], [Line("a", [0.5]), Line("b", [0.5], Gain(0.1, math.nan, math.nan))], "J&F")
    assert rows_of(latex(alone))[2].endswith("$+10.0$"), "one clip has no interval"


def test_characters_beyond_pdflatex_are_announced():
    assert latex(made(["狗"])).startswith("% some characters need xelatex or lualatex")
    assert "xelatex" not in latex(made(["naïve é ü"])), "its default fonts have accents"
    assert "xelatex" not in latex(ScoreTable("狗", "x", ["J"], [Line("a", [0.5], note="狗")])), "comments are not set"


def test_markdown_shows_names_as_written():
    assert md.escape("a_b|*c* <x> `d` [e](f)") == r"a\_b\|\*c\* \<x\> \`d\` \[e\](f)"


@needs_pdflatex
def test_hostile_names_compile(tmp_path):
    log = compiled(tmp_path, latex(made()), latex(made(gain_of=None)))
    assert "Output written" in log and "Missing character" not in (tmp_path / "paper.log").read_text(errors="replace")


@needs_pdflatex
def test_the_tables_of_a_run_and_an_ablation_compile(tiny, tmp_path):
    assert run_ensemble.main([*tiny.arguments, "report=false"]) == 0
    assert run_ensemble.main(["ablate", *tiny.arguments, "output=smr", "ablate.smr.threshold=[1,7]"]) == 0
    steps, ablation = ((tiny.out / f"{name}.tex").read_text() for name in ("metrics", "ablation"))
    compiled(tmp_path, steps, ablation)
    names = [row.partition(" & ")[0] for row in rows_of(steps)]
    assert names == ["Method", "soc", "mutr", "referformer", r"smr", r"smr\_flow"]
    assert rows_of(steps)[0].endswith(r"$\mathcal{J}$ & $\mathcal{F}$ & $\mathcal{J}\&\mathcal{F}$")
    assert steps.count(r"\midrule") == 2, "sources, then steps"
    assert "% not scored: step smr: clip 'a', a group of 2: threshold 7 of 6 votes" in ablation
    shown = (tiny.out / "ablation.md").read_text()
    assert "| the recipe as it is |" in shown and "| threshold=1 |" in shown and "95 % interval" in shown
    own = tiny.out / "ablations/smr.threshold"
    assert all((own / f"ablation.{k}").read_bytes() == (tiny.out / f"ablation.{k}").read_bytes() for k in ("md", "tex"))


def test_metrics_tex_has_the_numbers_of_the_run(tiny):
    import json

    assert run_ensemble.main([*tiny.arguments, "report=false", "submission=false"]) == 0
    means = json.loads((tiny.out / "metrics.json").read_text())["steps"]
    best = max(means.values(), key=lambda of: of["J&F"])["J&F"]
    rows = rows_of((tiny.out / "metrics.tex").read_text())[1:]
    for row, (name, of) in zip(rows, means.items(), strict=True):
        cells = [f"{100 * of[m]:.1f}" for m in ("J", "F", "J&F")]
        assert [re.sub(r"\\textbf\{(.*)\}", r"\1", c) for c in row.split(" & ")] == [tex.escape(name), *cells]
        assert (r"\textbf" in row.split(" & ")[3]) == (cells[2] == f"{100 * best:.1f}")
