"""Tests of report.html in a real browser, of its data files, and of overlays."""

import base64
import json
import os
import shutil
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers import browser as chromium
from helpers.reference import default_radius, j_and_f
from helpers.tiny import FRAMES, MODELS, H, T, W, make_tiny
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import run_ensemble
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.ensemble import report
from rvos_ensemble.ensemble.engine.results import Place
from rvos_ensemble.ensemble.metrics import scores as metrics
from rvos_ensemble.ensemble.metrics.frame_scores import means_of, pack_scores, read_scores
from rvos_ensemble.ensemble.recipe.recipe import load
from rvos_ensemble.ensemble.report import clip_data, overlays, page
from rvos_ensemble.ensemble.report.page import _notes
from rvos_ensemble.ensemble.report.record import ClipRecord, read_record

HOSTILE = '</script><img src=x onerror="window.hacked = 1"><!-- <script> & "quotes" \u2028'
ODD = 'b #1 100% "<i>"'  # name of a clip: legal as a file name, with special characters of URLs and HTML
SEEN = os.environ.get("REPORT_PICTURES")  # a folder for screenshots


def run(tiny, *arguments) -> int:
    return run_ensemble.main([*tiny.arguments, *arguments])


def statuses(out) -> dict[str, str]:
    return {n: c["status"] for n, c in json.loads((out / "manifest.json").read_text())["clips"].items()}


def png(out, clip, expression, frame) -> np.ndarray:
    return np.array(Image.open(out / "Annotations" / clip / expression / f"{frame}.png")) > 0


# Scores of every frame


def test_scores_of_every_frame_are_those_of_the_pictures(tiny):
    assert run(tiny) == 0
    scores = read_scores(tiny.out / "clips/a.npz")["smr_flow"]
    assert list(scores) == ["0", "1", "2"]
    for e, per_frame in scores.items():
        for t, frame in enumerate(FRAMES):
            truth = np.array(Image.open(tiny.root / "valid/Annotations/a" / f"{frame}.png")) == int(e) // 2 + 1
            assert (per_frame.J[t], per_frame.F[t]) == j_and_f(
                png(tiny.out, "a", e, frame), truth, default_radius(H, W)
            )
    table = pd.read_csv(tiny.out / "metrics.csv", dtype={"expression": str})
    assert list(table.columns) == ["clip", "expression", "text", "step", "J", "F", "J&F"]
    assert len(table) == 3 * 3 * 5 and not table.duplicated(["clip", "expression", "step"]).any()
    for row in table[table["clip"] == "a"].itertuples():
        assert np.mean(read_scores(tiny.out / "clips/a.npz")[row.step][row.expression].J) == row.J


def test_nothing_is_scored_twice(tiny, monkeypatch):
    calls = []
    original = metrics.score_many
    monkeypatch.setattr(metrics, "score_many", lambda *a: calls.append(1) or original(*a))
    assert run(tiny) == 0
    assert len(calls) == 9, "once per expression"
    assert run(tiny) == 0
    assert len(calls) == 9


def test_missing_scores_stay_missing(tmp_path):
    values = metrics.Scores(np.array([0.5, 1.0]), np.array([0.25, 0.0]))
    for scores in ({}, {"soc": {"0": values}, "final": {"10": values}}):
        file = tmp_path / "clips" / "a.npz"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(pack_scores(scores, 2))
        back = read_scores(tmp_path / "clips/a.npz")
        assert {s: list(of) for s, of in back.items()} == {s: list(of) for s, of in scores.items()}
        assert all(np.array_equal(back[s][e].F, values.F) for s, of in back.items() for e in of)


@pytest.mark.parametrize("what", ["record of an earlier version", "clips/a.npz", "report/a.js", "damaged clips/a.npz"])
def test_what_is_missing_or_old_is_made_again(tiny, what):
    assert run(tiny) == 0
    before = (tiny.out / "report.html").read_bytes()
    file = tiny.out / what.split()[-1]
    if what.startswith("record"):
        record = json.loads((tiny.out / "clips/a.json").read_text())
        del record["files"]
        (tiny.out / "clips/a.json").write_text(json.dumps(record))
        (tiny.out / "clips/a.npz").unlink()
    elif what.startswith("damaged"):
        file.write_bytes(file.read_bytes()[:100])
    else:
        file.unlink()
    assert run(tiny) == 0
    assert statuses(tiny.out) == {"a": "done", "b": "reused", "c": "reused"}
    assert (tiny.out / "report.html").read_bytes() == before


# Pictures of a clip


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_runs_are_the_mask(mask):
    runs = clip_data.runs_of(mask)
    assert runs.sum() == mask.size and (runs[1:] > 0).all()
    assert np.array_equal(np.repeat(np.arange(len(runs)) % 2 == 1, runs), mask.ravel())


@pytest.mark.parametrize(("noted", "shown"), [(0, [0]), (3, [3]), ([1, 2], [1, 2])])
def test_key_frames_that_a_source_names_are_a_list(noted, shown):
    record = ClipRecord("a", notes={"soc": {"0": {"key_frame": noted}}})
    assert _notes(record, "soc", "0") == {"keys": shown}


def make_clip(frames, size, expressions=("0",), truth=None):
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (max(1, size[0] // 12), max(1, size[1] // 12), 3), np.uint8)
    still = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC).reshape(*size, 3)
    images = SimpleNamespace(size=size, read=lambda t: np.roll(still, 3 * t, axis=1))
    names = tuple(f"{t:05d}" for t in range(frames))
    return Clip("a", names, tuple(Expression("a", e, f"thing {e}") for e in expressions), images, truth)


@pytest.mark.parametrize(
    "frames, size", [(1, (1, 1)), (5, (48, 70)), (3, (240, 240)), (4, (720, 406)), (900, (20, 30))]
)
def test_pictures_hold_the_masks(frames, size):
    clip = make_clip(frames, size, ("0", "1"))
    random = np.random.default_rng(1)
    masks = np.stack([cv2.blur(random.random(size), (9, 9)).reshape(size) > 0.5 for _ in range(frames)])
    masks[-1] = True
    shared, other = MaskSequence.binary(masks), MaskSequence.binary(~masks)
    body = json.loads(
        clip_data.body_of(clip_data.pack(clip, {"soc": {"0": shared, "1": shared}, "x": {"0": other, "1": shared}}))
    )
    assert body["rows"] == {"0": {"soc": 0, "x": 1}, "1": {"soc": 0, "x": 0}} and body["truth"] == {}
    assert max(body["size"]) == min(max(size), clip_data.SIDE) and len(body["times"]) <= clip_data.FRAMES
    numbers = np.frombuffer(zlib.decompress(base64.b64decode(body["runs"])), "<u2")
    counts = numbers[: 2 * len(body["times"])]
    pieces = np.split(numbers[len(counts) :], np.cumsum(counts)[:-1])
    h, w = body["size"]
    for k, (i, t) in [(k, p) for k in (0, 1) for p in enumerate(body["times"])]:
        mask = np.repeat(np.arange(counts[k * len(body["times"]) + i]) % 2, pieces[k * len(body["times"]) + i])
        wanted = cv2.resize((masks[t] ^ bool(k)).astype(np.float64), (w, h), interpolation=cv2.INTER_AREA)
        clear = np.abs(wanted - 0.5) > 0.01
        assert np.array_equal((mask.reshape(h, w) == 1)[clear], (wanted > 0.5)[clear])
    sheet = cv2.imdecode(np.frombuffer(base64.b64decode(body["frames"]), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    for i, t in enumerate(body["times"]):
        y, x = i // body["columns"] * h, i % body["columns"] * w
        wanted = cv2.resize(clip.read(t), (w, h), interpolation=cv2.INTER_AREA).astype(float)
        assert np.abs(sheet[y : y + h, x : x + w] - wanted).mean() < 25


# Overlays


@pytest.mark.parametrize("kind", overlays.KINDS)
def test_overlays_play_every_frame_with_its_mask(tiny, kind):
    assert run(tiny, f"overlays={kind}") == 0
    files = sorted(tiny.out.glob("overlays/*/*"))
    assert [str(f.relative_to(tiny.out / "overlays")) for f in files] == [
        f"{c}/{e}.{kind}" for c in "abc" for e in "012"
    ]
    video = cv2.VideoCapture(str(files[0]))
    pictures = []
    while (read := video.read())[0]:
        pictures.append(read[1][..., ::-1].astype(int))
    assert len(pictures) == T and pictures[0].shape == (H, W, 3), "48 x 70 is even already"
    for picture, frame in zip(pictures, FRAMES, strict=True):
        mask = png(tiny.out, "a", "0", frame)
        inside = cv2.erode(mask.astype(np.uint8), np.ones((5, 5))) > 0  # compression blurs the edges
        outside = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) == 0
        pink = picture[..., 0] - picture[..., 1]
        assert pink[inside].mean() > pink[outside].mean() + 50
    assert run(tiny, f"overlays={kind}") == 0 and set(statuses(tiny.out).values()) == {"reused"}
    files[0].unlink()
    assert run(tiny, f"overlays={kind}") == 0 and files[0].is_file()
    assert run(tiny) == 0 and not (tiny.out / "overlays").exists(), "belongs to another run"


@pytest.mark.parametrize("kind", overlays.KINDS)
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (31, 1000)])
def test_overlays_of_odd_sizes(kind, size, tmp_path):
    masks = MaskSequence.binary(np.ones((3, *size), bool))
    file = tmp_path / f"a.{kind}"
    file.write_bytes(overlays.encode(make_clip(3, size), masks, kind))
    video = cv2.VideoCapture(str(file))
    assert sum(1 for _ in iter(lambda: video.read()[0], False)) == 3


def test_an_overlay_of_another_kind_is_refused(tiny, capsys):
    assert run(tiny, "overlays=avi") == 2
    assert "`overlays` is 'avi', expected one of nothing, false, mp4, gif" in capsys.readouterr().err
    assert run(tiny, "overlays=false") == 0 and not (tiny.out / "overlays").exists()


# The page


def test_no_text_ends_a_script():
    text = clip_data.script_json({"text": HOSTILE})
    assert "<" not in text and json.loads(text) == {"text": HOSTILE}


@pytest.fixture(scope="module")
def tab():
    program = chromium.find()
    if program is None:
        pytest.skip("no chromium on the path: apt-get install chromium")
    browser = chromium.Browser(program)
    yield browser
    browser.close()


@pytest.fixture
def web(tab):
    """The browser; afterwards, it must have reported no problem and requested only local files."""
    tab.look(1280, 900)
    tab.problems.clear()
    tab.requests.clear()
    yield tab
    assert tab.problems == []
    assert all(r.startswith(("file:", "data:", "blob:")) for r in tab.requests), tab.requests


def rename(root, expression, text, clip):
    """Changes the text of one expression of clip `a`, and verifies that the clip named `clip` exists."""
    for file in root.glob("meta_expressions/valid/*.json"):
        content = json.loads(file.read_text())
        if "videos" in content:
            content["videos"]["a"]["expressions"][expression]["exp"] = text
        file.write_text(json.dumps(content))
    assert clip in content or clip in content.get("videos", {})


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run on the tiny benchmark with a hostile expression and a clip with an odd name."""
    tiny = make_tiny(tmp_path_factory.mktemp("report"), clips=("a", ODD, "c"))
    rename(tiny.root, "1", HOSTILE, ODD)
    assert run(tiny) == 0
    return tiny


def show(web, out, clip="a", expression="0"):
    """Opens the report at an expression and waits for its pictures."""
    web.open("about:blank")
    web.open((out / "report.html").as_uri())
    opening = f"data.expressions.find((e) => data.clips[e.clip][0] === {json.dumps(clip)} && e.id === '{expression}')"
    web.run(f"open({opening})")
    web.wait("viewer.rows.every((r) => r.panel)")


PIXELS = """const pixels = (canvas) => { const copy = document.createElement("canvas").getContext("2d",
    { willReadFrequently: true }); Object.assign(copy.canvas, { width: canvas.width, height: canvas.height });
    copy.drawImage(canvas, 0, 0); return Array.from(copy.getImageData(0, 0, canvas.width, canvas.height).data); };"""


def canvas(web, label) -> np.ndarray:
    """The pixels of the panel with this label, [h, w, 3]."""
    height, width, values = web.run(
        f"""(() => {{ {PIXELS} const panel = [...document.querySelectorAll(".panel")].find((p) =>
        p.querySelector("b").textContent === {json.dumps(label)}), canvas = panel.querySelector("canvas");
        return [canvas.height, canvas.width, pixels(canvas)]; }})()"""
    )
    return np.array(values).reshape(height, width, 4)[..., :3]


def column(web, title) -> list[str]:
    """The visible cells of a column of the expressions."""
    return web.run(
        f"""(() => {{ const heads = [...document.querySelectorAll("#expressions thead th")].map((h) => h.textContent);
        return [...document.querySelectorAll("#expressions tbody tr")].filter((r) => !r.hidden)
        .map((r) => r.cells[heads.indexOf({json.dumps(title)})].textContent); }})()"""
    )


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


CLIPS, EXPRESSIONS, FRAMES_EACH = 202, 834, 27  # Ref-YouTube-VOS valid: 22 thousand masks per step


def big_report(tiny):
    """A report with ten rows, of the size of Ref-YouTube-VOS; all clips share the images of two clips."""
    out = tiny.out
    recipe = load([*tiny.arguments, *(f"steps.more{i}={{op: union, inputs: [soc, mutr]}}" for i in range(5))])
    names, random = [*recipe.sources, *recipe.steps], np.random.default_rng(0)
    templates, clips, records = {}, [], []
    for number in range(CLIPS):
        count = EXPRESSIONS // CLIPS + (number < EXPRESSIONS % CLIPS)
        clip = make_clip(FRAMES_EACH, (360, 640), [str(i) for i in range(count)])
        if count not in templates:
            blob = cv2.GaussianBlur(random.standard_normal((180, 320)), (0, 0), 9)
            still = [cv2.resize(np.roll(blob, 9 * k, axis=0), (640, 360)) > 0.03 for k in range(count)]
            results = {
                n: {
                    e.id: MaskSequence.binary(np.roll(still[k], (3 * t, i), (1, 0)) for t in range(FRAMES_EACH))
                    for k, e in enumerate(clip.expressions)
                }
                for i, n in enumerate(names)
            }
            templates[count] = clip_data.body_of(clip_data.pack(clip, results))
        name = f"{number:010x}"
        values = random.beta(5, 2, (len(names), count, 2, FRAMES_EACH))
        scores = {
            n: {e.id: metrics.Scores(*values[i, k]) for k, e in enumerate(clip.expressions)}
            for i, n in enumerate(names)
        }
        notes = {n: {e.id: {"key_frames": [3], "group": ["0", "1"]} for e in clip.expressions} for n in names}
        clips.append(Clip(name, clip.frames, clip.expressions, clip.images))
        records.append(ClipRecord(name, scores=means_of(scores), notes=notes))
        for file, content in {
            f"clips/{name}.npz": pack_scores(scores, FRAMES_EACH),
            clip_data.file_name(name): f'receive("{name}",\n{templates[count]}\n)\n'.encode(),
        }.items():
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            (out / file).write_bytes(content)
    report.write_page(recipe, out, clips, records, dict.fromkeys([c.name for c in clips], Place(out)))


def test_834_expressions_load_in_under_3_seconds(web, tiny):
    big_report(tiny)
    size = (tiny.out / "report.html").stat().st_size
    assert 0.9 * page.PAGE_BYTES < size <= page.PAGE_BYTES
    for _ in range(3):  # the fastest of three loads: other tests run at the same time
        seconds = web.open((tiny.out / "report.html").as_uri())
        web.wait("viewer.rows.every((r) => r.panel)")
        ready = web.run("performance.now()") / 1000
        if max(seconds, ready) < 3:
            break
    linked = web.run("data.clips.length - document.querySelectorAll('script.pictures').length")
    print(f"{size / 2**20:.1f} MiB, {linked} clips linked, loaded {seconds:.2f} s, first pictures {ready:.2f} s")
    assert seconds < 3 and ready < 3 and 0 < linked < CLIPS
    assert len(column(web, "clip")) == EXPRESSIONS
    slowest = web.run(
        """(() => { const time = (f) => { const t = performance.now(); f(); document.body.offsetHeight;
        return performance.now() - t; };
        const filter = document.querySelector(".filter");
        return [time(() => document.querySelector("th:nth-child(5) button").click()),
        time(() => { filter.value = "thing 3"; filter.dispatchEvent(new Event("input")); }),
        time(() => viewer.seek(9))]; })()"""
    )
    print("sort, filter, next frame in ms:", [round(v) for v in slowest])
    assert max(slowest) < 1000
    last = web.run(
        "data.clips.findIndex((c) => ![...document.querySelectorAll('script.pictures')]"
        ".some((s) => s.dataset.clip === c[0]))"
    )
    web.run(f"open(data.expressions.find((e) => e.clip === {last}))")
    web.wait("viewer.rows.every((r) => r.panel)")
    assert any(r.endswith(".js") for r in web.requests), "loaded from the folder report/"
