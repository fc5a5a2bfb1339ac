"""Tests of report.html in a real browser."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers.report_page import HOSTILE, ODD, PIXELS, canvas, column, png, run, show
from helpers.tiny import FRAMES, MODELS, T, make_tiny
from PIL import Image

from rvos_ensemble.ensemble import report
from rvos_ensemble.ensemble.metrics.frame_scores import read_scores
from rvos_ensemble.ensemble.report.page import clip_data, page
from rvos_ensemble.ensemble.report.record import read_record

SEEN = os.environ.get("REPORT_PICTURES")  # a folder for screenshots


def test_no_text_ends_a_script():
    text = clip_data.script_json({"text": HOSTILE})
    assert "<" not in text and json.loads(text) == {"text": HOSTILE}


def test_the_table_of_steps(web, done):
    show(web, done.out)
    cells = web.run(
        "[...document.querySelectorAll('#steps tbody tr')].map((r) => [...r.cells].map((c) => c.textContent))"
    )
    means = json.loads((done.out / "metrics.json").read_text())["steps"]
    assert [c[0] for c in cells] == list(means) == [*MODELS, "smr", "smr_flow"]
    for name, *scores in cells:
        assert scores[:3] == [f"{100 * means[name][k]:.1f}" for k in ("J", "F", "J&F")]
    assert "← output" in cells[-1][-1]
    assert "3 clips, 9 expressions" in web.run("document.getElementById('facts').textContent")


def test_the_panels_show_the_right_frames(web, done):
    """Compares the pixels of every panel with the input and output files."""
    show(web, done.out)
    assert web.run("[...document.querySelectorAll('.panel b')].map((b) => b.textContent)") == [
        *("frame", "ground truth", *MODELS),
        *("smr", "votes for smr", "smr_flow"),
    ]
    originals = [np.array(Image.open(done.frame_file(frame=f))).astype(float) for f in FRAMES]
    for t, frame in enumerate(FRAMES):
        web.run(f"viewer.seek({t})")
        bare = canvas(web, "frame")
        distances = [np.abs(bare - o).mean() for o in originals]
        assert np.argmin(distances) == t and distances[t] < 20
        truth = np.array(Image.open(done.root / "valid/Annotations/a" / f"{frame}.png")) == 1
        voters = [np.array(Image.open(done.mask_file(m, "a", e, frame))) > 0 for m in MODELS for e in "01"]
        for label, mask in {
            "ground truth": truth,
            "soc": voters[0],
            "smr_flow": png(done.out, "a", "0", frame),
        }.items():
            assert np.array_equal((canvas(web, label) != bare).any(axis=2), mask), (label, frame)
        votes = np.sum(voters, axis=0)
        assert (
            web.run(
                "Array.from(viewer.pictures.votes(viewer.rows.find((r) => r.voters).voters.map((v) =>"
                f" viewer.pictures.rows[v.id][v.name]), [1, 1, 1, 1, 1, 1], {t}))"
            )
            == votes.ravel().tolist()
        )
        hot = canvas(web, "votes for smr")
        assert np.abs(hot[votes == 0] - 0.55 * bare[votes == 0]).max() <= 1
        greens = [hot[votes == v][:, 1].mean() for v in range(1, 7) if (votes == v).any()]
        assert greens == sorted(greens), "more votes give brighter pixels"
        keys = read_record(done.out / "clips/a.json").notes["smr_flow"]["0"]["key_frames"]
        marked = web.run(
            "[...document.querySelectorAll('.panel')].find((p) => p.textContent.startsWith('smr_flow'))"
            ".querySelector('canvas').classList.contains('key')"
        )
        assert marked == (t in keys)
        assert f"frame {frame} ({t + 1} of {T})" in web.run("document.querySelector('.readout').textContent")


def test_errors_are_marked_against_the_truth(web, done):
    show(web, done.out)
    web.run("viewer.seek(1); document.querySelector('.errors').click()")
    bare, marked = canvas(web, "frame"), canvas(web, "soc")
    truth = np.array(Image.open(done.root / "valid/Annotations/a" / f"{FRAMES[1]}.png")) == 1
    mask = np.array(Image.open(done.mask_file("soc", "a", "0", FRAMES[1]))) > 0
    assert np.array_equal((marked != bare).any(axis=2), truth | mask)
    blue = np.round(0.3 * bare + 0.7 * np.array([42, 125, 225]))
    assert np.abs(marked - blue)[truth & ~mask].max() <= 1 and (truth & ~mask).any()
    assert np.array_equal((canvas(web, "ground truth") != bare).any(axis=2), truth), "ground truth has no errors"
    web.run("document.querySelector('.errors').click()")


def test_the_film_strip_and_the_curve(web, done):
    show(web, done.out)
    assert web.run("document.querySelectorAll('.strip canvas').length") == T
    assert web.run("document.querySelector('.chosen').textContent") == "smr_flow", "the output is selected first"
    for t in (3, 0):
        web.run(f"document.querySelectorAll('.strip button')[{t}].click()")
        same = web.run(
            f"""(() => {{ {PIXELS} const cell = document.querySelectorAll(".strip canvas")[{t}];
            return pixels(cell).join() === pixels(viewer.row.canvas).join(); }})()"""
        )
        assert same and web.run("viewer.at") == t
    scores = read_scores(done.out / "clips/a.npz")["smr_flow"]["0"]
    curve = web.run(f"curvesOf(viewer.expression, {[*MODELS, 'smr', 'smr_flow'].index('smr_flow')}, data)")
    assert np.abs(np.array(curve["J"]) / 100 - scores.J).max() <= 0.0005 + 1e-9
    assert np.abs(np.array(curve["F"]) / 100 - scores.F).max() <= 0.0005 + 1e-9
    assert web.run("document.querySelectorAll('.curve polyline').length") == 2
    keys = read_record(done.out / "clips/a.json").notes["smr_flow"]["0"]["key_frames"]
    assert web.run("document.querySelectorAll('.curve line.key').length") == len(keys) > 0
    assert web.run("document.querySelectorAll('.strip canvas.key').length") == len(keys)


def test_sorting_by_any_column(web, done):
    show(web, done.out)
    titles = web.run("[...document.querySelectorAll('#expressions th')].map((h) => h.textContent)")
    assert titles == ["expression", "clip", "id", "gain", *MODELS, "smr", "smr_flow"]
    for i, title in enumerate(titles):
        before = sorted(column(web, title))
        head = f"document.querySelectorAll('#expressions th')[{i}]"
        for direction in ("descending", "ascending") if i > 2 else ("ascending", "descending"):
            web.run(f"{head}.querySelector('button').click()")
            assert web.run(f"{head}.getAttribute('aria-sort')") == direction
            assert web.run("document.querySelectorAll('[aria-sort]').length") == 1
            cells = column(web, title)
            assert sorted(cells) == before
            if i > 2:
                values = [float(c.replace("−", "-")) for c in cells]
                assert values == sorted(values, reverse=direction == "descending")
            elif title != "expression":
                assert cells == sorted(cells, reverse=direction == "descending")
    assert [c for c in column(web, "id")] != []


def test_filtering_by_text(web, done):
    show(web, done.out)
    web.run("document.querySelector('.filter').focus()")
    web.press(*"BLOCK i>")
    assert column(web, "clip") == [ODD] * 3, "every word must match, also in the name of the clip"
    assert web.run("document.querySelector('.count').textContent") == "3 of 9 expressions"
    web.press(*"zzz")
    assert column(web, "clip") == [] and "0 of 9" in web.run("document.querySelector('.count').textContent")


def test_another_score_and_another_comparison(web, done):
    show(web, done.out)
    table = pd.read_csv(done.out / "metrics.csv", dtype={"expression": str})
    wide = table.pivot(index=["clip", "expression"], columns="step", values="F")
    choose = (
        "(() => {{ const s = document.querySelector('{}'); s.value = '{}'; s.dispatchEvent(new Event('change')); }})()"
    )
    web.run(choose.format(".metric", "F"))
    web.run(choose.format(".of", "smr"))
    web.run(choose.format(".against", "mutr"))
    rows = zip(column(web, "clip"), column(web, "id"), column(web, "gain"), column(web, "smr"), strict=True)
    for clip, e, gain, smr in rows:
        assert float(smr) == pytest.approx(100 * wide.smr[clip, e], abs=0.051)
        wanted = 100 * (wide.smr[clip, e] - wide.mutr[clip, e])
        assert float(gain.replace("−", "-")) == pytest.approx(wanted, abs=0.052)
    listed = web.run("[...document.querySelectorAll('.gains li span')].map((s) => parseFloat(s.textContent))")
    assert listed == sorted(listed, reverse=True) and listed


def test_the_keyboard(web, done):
    show(web, done.out)
    web.press("Tab")
    assert web.run("document.activeElement.className") == "skip"
    assert web.run("getComputedStyle(document.activeElement).outlineStyle") == "solid", "the focus is visible"
    web.run("document.querySelector('#expressions tbody button').focus()")
    web.press("ArrowDown", "ArrowDown")
    assert (
        web.run("[...document.querySelectorAll('#expressions tbody tr')].indexOf(document.activeElement.closest('tr'))")
        == 2
    )
    web.press("Enter")
    web.wait("viewer.expression.id === '2' && viewer.rows.every((r) => r.panel)")
    assert web.run("document.querySelector('#viewer h2').textContent") == "block 1"
    assert web.run("document.activeElement.className") == "time"
    assert web.run("location.hash") == "#a/2"
    assert web.run("document.querySelectorAll('tr[aria-selected=true]').length") == 1
    web.press("Home")
    assert web.run("viewer.at") == 0
    web.press("ArrowRight", "ArrowRight", "ArrowLeft")
    assert web.run("viewer.at") == 1
    web.press("End", "ArrowRight")
    assert web.run("viewer.at") == T - 1, "stays at the end"
    chosen = web.run("viewer.rows.indexOf(viewer.row)")
    web.press("ArrowUp")
    assert web.run("viewer.rows.indexOf(viewer.row)") == chosen - 1
    web.press(" ")
    assert web.run("viewer.playing && document.querySelector('.play').getAttribute('aria-label') === 'pause'")
    web.wait("viewer.at !== 4 && viewer.at > 1")
    web.press(" ")
    assert not web.run("viewer.playing")
    web.run("document.querySelectorAll('.panel')[3].focus()")
    web.press("Enter")
    assert (
        web.run("viewer.row.label") == "mutr"
        and web.run("document.activeElement.getAttribute('aria-pressed')") == "true"
    )


def test_screen_readers_have_a_name_for_every_control(web, done):
    show(web, done.out)
    nodes = web.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "slider", "checkbox", "combobox", "searchbox", "image", "img")
    named = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]
    controls = [(role, name) for role, name in named if role in roles]
    assert len(controls) > 30 and all(name.strip() for _, name in controls), controls
    assert {"slider", "checkbox", "combobox", "searchbox"} <= {role for role, _ in controls}
    assert ("button", "frame 00000") in controls or ("button", "frame 00000, key frame") in controls


def luminance(colour: str) -> float:
    values = np.array([float(v) for v in colour[4:-1].split(",")]) / 255
    return float(
        np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_is_readable_in_light_and_dark_and_on_a_phone(web, done, scheme, width, tmp_path):
    web.look(width, 800, scheme)
    show(web, done.out)
    colours = web.run(
        """[...document.querySelectorAll("h1, #facts, .panel b, .panel small, td, .up, .down, select, .hint, button")]
        .map((e) => { let b = e; const clear = "rgba(0, 0, 0, 0)";
        while (b.parentElement && getComputedStyle(b).backgroundColor === clear) b = b.parentElement;
        return [getComputedStyle(e).color, getComputedStyle(b).backgroundColor]; })"""
    )
    assert len(colours) > 50
    for ink, paper in colours:
        bright, dim = sorted([luminance(ink), luminance(paper)], reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5, (ink, paper)
    page_colour = web.run("getComputedStyle(document.body).backgroundColor")
    assert (luminance(page_colour) > 0.5) == (scheme == "light")
    assert web.run("document.documentElement.scrollWidth") <= width, "nothing is wider than the page"
    picture = tmp_path / "page.png"
    web.screenshot(picture)
    assert Image.open(picture).size == (width, 800) and np.std(np.array(Image.open(picture))) > 10
    if SEEN:
        shutil.copy(picture, os.path.join(SEEN, f"{scheme}_{width}.png"))


def test_hostile_text_is_only_text(web, done):
    show(web, done.out, "a", "1")
    assert web.run("document.querySelector('#viewer h2').textContent") == HOSTILE
    assert HOSTILE in column(web, "expression")
    assert (
        web.run("typeof window.hacked") == "undefined" and web.run("document.querySelectorAll('main img').length") == 0
    )


def test_pictures_beside_the_page(web, tmp_path, monkeypatch):
    """If images do not fit into the page, they are loaded from report/; if this is missing, the page says so."""
    monkeypatch.setattr(page, "PAGE_BYTES", 0)
    tiny = make_tiny(tmp_path, clips=("a", ODD, "c"))
    assert run(tiny) == 0
    show(web, tiny.out, ODD, "2")
    assert "images of 0 clips are embedded in this page" in web.run("document.getElementById('facts').textContent")
    mask = png(tiny.out, ODD, "2", FRAMES[2])
    web.run("viewer.seek(2)")
    assert np.array_equal((canvas(web, "smr_flow") != canvas(web, "frame")).any(axis=2), mask)
    alone = tmp_path / "mailed" / "report.html"
    alone.parent.mkdir()
    shutil.copy(tiny.out / "report.html", alone)
    web.open(alone.as_uri())
    web.wait("document.querySelector('.message').textContent")
    assert "Copy the folder report/ along" in web.run("document.querySelector('.message').textContent")
    assert web.run("document.querySelectorAll('.curve polyline').length") == 2, "the scores are still shown"
    assert all("ERR_FILE_NOT_FOUND" in p for p in web.problems) and web.problems
    web.problems.clear()


def test_a_page_without_ground_truth(web, tiny):
    (tiny.root / "meta_expressions/valid/obj_ids.json").unlink()
    shutil.rmtree(tiny.root / "valid/Annotations")
    assert run(tiny) == 0
    show(web, tiny.out, "b", "1")
    assert "no ground truth" in web.run("document.getElementById('facts').textContent")
    assert "ground truth" not in web.run("[...document.querySelectorAll('.panel b')].map((b) => b.textContent)")
    assert np.array_equal(
        (canvas(web, "soc") != canvas(web, "frame")).any(axis=2),
        np.array(Image.open(tiny.mask_file("soc", "b", "1", FRAMES[web.run("viewer.at")]))) > 0,
    )
    assert len(column(web, "clip")) == 9
    needs_truth = ("#changes", ".metric", ".errors", ".legend", ".curve")
    visible = web.run(f"{json.dumps(needs_truth)}.filter((s) => document.querySelector(s).checkVisibility())")
    assert visible == [], "what needs ground truth is hidden"
    assert web.run("document.querySelectorAll('#steps svg.histogram').length") == 0
    assert "J&F" not in web.run("document.getElementById('viewer').innerText")


ABLATION = '''ablation,label,parameters,values,step,J,F,J&F,delta,low,high,clips,expressions
sweep,the recipe as it is,,,final,0.68,0.78,0.73,0.0,,,8,45
sweep,threshold 3,steps.final.threshold,3,final,0.70,0.80,0.75,0.02,0.01,0.03,8,45
sweep,threshold 1,steps.final.threshold,1,final,0.60,0.70,0.65,-0.08,-0.1,-0.06,8,45
sweep,threshold 2,steps.final.threshold,2,final,0.68,0.78,0.73,0.0,0.0,0.0,8,45
sweep,threshold 99,steps.final.threshold,99,final,,,,,,,0,0
ladder,the recipe as it is,,,final,0.7,0.8,0.75,0,,,8,45
ladder,without <soc>,sources.soc,null,smr,0.6,0.7,0.65,-0.1,-0.12,-0.08,8,45
rule,uniform,steps.smr_aot.key_frame,"""uniform""",smr_aot,0.6,0.7,0.65,-0.1,-0.12,-0.08,8,45
'''


def test_ablations_are_drawn_and_refreshed(web, done, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(done.out, out)
    before = (out / "report.html").read_text()
    (out / "ablation.csv").write_text(ABLATION)
    report.refresh(out)
    show(web, out)
    web.wait("document.querySelectorAll('#ablations polyline').length === 3")
    assert web.run("document.querySelectorAll('#ablations .cards > div').length") == 3
    assert web.run("document.querySelectorAll('#ablations .cards > div')[1].querySelectorAll('tr svg').length") == 2
    title = web.run("document.querySelector('#ablations h3').textContent")
    assert title == "sweep, steps.final.threshold, scores of final"
    points = web.run("document.querySelector('#ablations polyline.JF').getAttribute('points')").split()
    heights = [float(p.split(",")[1]) for p in points]
    assert heights[0] > heights[1] > heights[2], "in the order of the values: 65, 73, 75"
    assert len(points) == 3, "a setting without scores has no point"
    assert web.run("document.querySelector('#ablations tr.output th').textContent") == "threshold 3"
    (out / "ablation.csv").unlink()
    report.refresh(out)
    assert (out / "report.html").read_text() == before
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "ablation.csv").write_text(ABLATION)
    report.refresh(tmp_path / "new")
    web.open((tmp_path / "new" / "report.html").as_uri())
    web.wait("document.querySelectorAll('#ablations polyline').length === 3")
    assert web.run("document.getElementById('expressions').hidden && document.getElementById('viewer').hidden")
