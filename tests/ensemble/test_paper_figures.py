"""Figures: the same bytes whenever they are drawn, SVG with real text and PDF, whatever the user sets in matplotlib."""

import math
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from rvos_ensemble.ensemble.report.paper.figures import Axis, Bar, bars, curves, heat_map
from rvos_ensemble.ensemble.report.paper.style import rendered, save
from rvos_ensemble.ensemble.report.training import MAX_POINTS, figure

TEXT = "{http://www.w3.org/2000/svg}text"


def texts(folder, name="x") -> list[str]:
    return ["".join(e.itertext()) for e in ElementTree.parse(folder / f"{name}.svg").iter(TEXT)]


def three():
    yield curves("a $title$ & <tags>", "steps.x.threshold", [1, 2, 4], {"J&F": [70, math.nan, 72], "J": [1, 2, 3]})
    yield bars("bars", [Bar("without a_b", -2.0, -3.0, -1.0), Bar("failed", math.nan), Bar("y" * 90, 0.5)], "percent")
    yield heat_map("map", Axis("k", ["1", "2"]), Axis("r", ["p", "q"]), np.array([[70, math.nan], [71, 72]]), "J&F")


def test_drawn_again_under_other_settings_of_the_user_the_bytes_are_the_same():
    first = [rendered(drawn) for drawn in three()]
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "other", "text.usetex": True, "axes.grid": True}):
        assert [rendered(drawn) for drawn in three()] == first
        assert matplotlib.rcParams["font.size"] == 30, "the user's own settings are restored"
    for files in first:
        svg, pdf = files["svg"].decode(), files["pdf"]
        assert "dc:date" not in svg and b"CreationDate" not in pdf and pdf.startswith(b"%PDF")
        assert b"/Type3" not in pdf.replace(b" ", b""), "conferences refuse Type 3 fonts"
    assert "a $title$ &amp; &lt;tags&gt;" in first[0]["svg"].decode(), "names are text as written, not formulas"


def test_curves_leave_out_what_is_missing(tmp_path):
    (axes,) = curves("t", "x", [1, 2, 4], {"a": [70, math.nan, 72], "b": [math.nan] * 3}, None, ("ref: 71.0", 71)).axes
    first, second, reference = axes.lines
    assert first.get_xydata().tolist() == [[1, 70], [4, 72]], "connected across the gap"
    assert len(second.get_xydata()) == 0 and set(reference.get_ydata()) == {71}
    assert first.get_linewidth() > second.get_linewidth()


def test_bars_show_their_values_and_intervals(tmp_path):
    drawn = bars("t", [Bar("a", -2.0, -3.0, -1.0), Bar("b", math.nan), Bar("c", 0.52, math.nan)], "percent")
    save(drawn, "x", tmp_path)
    assert {"a", "b", "c", "-2.0", "+0.5"} <= set(texts(tmp_path))
    axes = drawn.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [-2.0, 0, 0.52]
    whiskers = [line.get_xdata() for line in axes.lines if line.get_marker() == "|"]
    assert [list(w) for w in whiskers] == [[-3.0, -1.0]]


def test_the_highest_cell_is_the_bold_one_and_a_cell_without_score_is_empty(tmp_path):
    values = np.array([[70.04, math.nan, 71], [71, 72.5, 60]])
    drawn = heat_map("t", Axis("k", ["1", "2", "3"]), Axis("r", ["p", "q"]), values, "J&F, percent")
    cells = {t.get_text(): t for t in drawn.axes[0].texts}
    assert set(cells) == {"70.0", "71.0", "72.5", "60.0"}
    assert [text for text, t in cells.items() if t.get_fontweight() == "bold"] == ["72.5"]
    assert cells["72.5"].get_position() == (1.5, 1.5)
    save(drawn, "x", tmp_path)
    svg = (tmp_path / "x.svg").read_text()
    assert svg.count("<image") <= 1, "cells are vectors; the scale of colours is one small picture"
    heat_map("t", Axis("k", ["1"]), Axis("r", ["p"]), np.array([[math.nan]]), "J&F")


def test_no_cell_is_darker_than_its_number_can_be_read_on():
    drawn = heat_map("t", Axis("k", "abcdefgh"), Axis("r", ["p"]), np.linspace(60, 80, 8)[None], "J&F")
    mesh, texts = drawn.axes[0].collections[0], drawn.axes[0].texts
    colours = mesh.get_cmap()(mesh.norm(mesh.get_array().ravel()))

    def luminance(rgb):
        return float(
            np.dot(
                np.where(
                    np.array(rgb[:3]) <= 0.03928,
                    np.array(rgb[:3]) / 12.92,
                    ((np.array(rgb[:3]) + 0.055) / 1.055) ** 2.4,
                ),
                (0.2126, 0.7152, 0.0722),
            )
        )

    for colour, text in zip(colours, texts, strict=True):
        ends = sorted((luminance(colour), luminance(matplotlib.colors.to_rgb(text.get_color()))))
        assert (ends[1] + 0.05) / (ends[0] + 0.05) > 3.5, "contrast, as WCAG defines it"


def test_a_training_of_any_length_keeps_its_rare_validations(tmp_path):
    log = [{"step": s, "loss": 1 / (1 + s)} | ({"J&F": s / 5000} if s % 500 == 0 else {}) for s in range(0, 5001, 5)]
    drawn = figure("soc, 5000 steps", log)
    lines = {line.get_label(): line.get_xydata() for line in drawn.axes[0].lines}
    assert [x for x, _ in lines["J&F"]] == list(range(0, 5001, 500))
    assert 100 < len(lines["loss"]) <= MAX_POINTS + 20
    save(drawn, "log", tmp_path)
    assert {"soc, 5000 steps", "J&F", "loss"} <= set(texts(tmp_path, "log"))


@pytest.mark.parametrize("name", ["狗 $x", "a\nb \\frac{ %s {}"])
def test_names_of_any_kind_can_be_drawn(tmp_path, name, recwarn):
    save(bars(name, [Bar(name, 1.0)], name, name), "x", tmp_path)
    assert re.sub(r"\s+", " ", name).strip() in " ".join(" ".join(texts(tmp_path)).split())
