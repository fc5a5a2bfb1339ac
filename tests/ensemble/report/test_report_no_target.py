"""The report of a run on data with expressions that refer to nothing, in a real browser."""

import json

import pytest
from helpers.tiny_mevis import make_tiny_mevis

import run_ensemble
from rvos_ensemble.ensemble.api.run_result import RunResult
from rvos_ensemble.ensemble.report.page import clip_data


@pytest.fixture(scope="module")
def mevis(tmp_path_factory):
    tiny = make_tiny_mevis(tmp_path_factory.mktemp("report"), clips=("a", "b"))
    assert run_ensemble.main(["ablate", *tiny.arguments, "ablate.smr.threshold=[1,2,3]"]) == 0
    assert run_ensemble.main(tiny.arguments) == 0
    return tiny


def test_the_file_of_a_clip_names_what_is_empty(mevis):
    body = json.loads(clip_data.body_of((mevis.out / "report/a.js").read_bytes()))
    assert body["empty"] == {"0": [], "1": ["referformer"], "2": [], "3": ["mutr", "referformer", "smr"]}


def test_the_page_says_what_refers_to_nothing(web, mevis):
    web.open((mevis.out / "report.html").as_uri())

    def show(expression):
        web.run(f"open(data.expressions.find((e) => e.clip === 0 && e.id === '{expression}'))")
        web.wait("viewer.rows.every((r) => r.panel)")
        about = web.run("document.querySelector('.about').textContent")
        panels = web.run(
            "[...document.querySelectorAll('.panel')].map((p) => [p.querySelector('b').textContent,"
            "p.querySelector('small.up, small.down, small:not([class])')?.className ?? null, p.textContent])"
        )
        return about, {name: (colour, text) for name, colour, text in panels}

    about, panels = show("3")
    assert "the expression refers to nothing" in about and "refers to nothing" in panels["ground truth"][1]
    assert panels["mutr"][0] == "up" and "empty in all frames" in panels["mutr"][1]
    assert "empty" not in panels["soc"][1]
    about, panels = show("1")
    assert "refers to nothing" not in about + panels["ground truth"][1]
    assert panels["referformer"][0] == "down" and "empty in all frames" in panels["referformer"][1]
    heads = web.run("[...document.querySelectorAll('#steps th')].map((h) => h.textContent)")
    assert heads[:8] == ["step", "J", "F", "J&F", "N-acc", "T-acc", "Final", "gain"]
    rows = "[...document.querySelectorAll('#steps tbody tr')].map((r) => [...r.cells].map((c) => c.innerText))"
    cells = web.run(rows)
    for name, scores in RunResult(mevis.out).metrics.iterrows():
        (row,) = [row for row in cells if row[0] == name]
        assert row[1:7] == [f"{100 * score:.1f}" for score in scores]
    facts = web.run("document.getElementById('facts').textContent")
    assert "gains in Final over the best source" in facts and "2 expressions refer to nothing" in facts
    web.run("table.filter.value = 'refers to nothing'; table.search()")
    assert web.run("table.visible().map((r) => r.e.id)") == ["3", "3"]
    web.wait("document.querySelectorAll('#ablations polyline').length === 4")
    assert web.run("document.querySelector('#ablations .hint').textContent").startswith("Differences in Final")
    assert web.run("document.querySelector('#ablations tr.output').textContent").startswith("the recipe as it is")
    assert web.problems == []
