"""Runs whose report is tested, and what is read from a report that is open in a browser."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
from PIL import Image

import run_ensemble
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.ensemble.report.page import clip_data

HOSTILE = '</script><img src=x onerror="window.hacked = 1"><!-- <script> & "quotes" \u2028'
ODD = 'b #1 100% "<i>"'  # name of a clip: legal as a file name, with special characters of URLs and HTML


def run(tiny, *arguments) -> int:
    return run_ensemble.main([*tiny.arguments, *arguments])


def statuses(out) -> dict[str, str]:
    return {n: c["status"] for n, c in json.loads((out / "manifest.json").read_text())["clips"].items()}


def png(out, clip, expression, frame) -> np.ndarray:
    return np.array(Image.open(out / "Annotations" / clip / expression / f"{frame}.png")) > 0


def make_clip(frames, size, expressions=("0",), truth=None):
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (max(1, size[0] // 12), max(1, size[1] // 12), 3), np.uint8)
    still = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC).reshape(*size, 3)
    images = SimpleNamespace(size=size, read=lambda t: np.roll(still, 3 * t, axis=1))
    names = tuple(f"{t:05d}" for t in range(frames))
    return Clip("a", names, tuple(Expression("a", e, f"thing {e}") for e in expressions), images, truth)


def rename(root, expression, text, clip):
    """Changes the text of one expression of clip `a`, and verifies that the clip named `clip` exists."""
    for file in root.glob("meta_expressions/valid/*.json"):
        content = json.loads(file.read_text())
        if "videos" in content:
            content["videos"]["a"]["expressions"][expression]["exp"] = text
        file.write_text(json.dumps(content))
    assert clip in content or clip in content.get("videos", {})


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


def variant(out, folder, edit) -> str:
    """The address of a copy of a report whose data, and whose images of clip `a`, were edited by a function."""
    text = (out / "report.html").read_text()

    def replaced(text, opening, change):
        start = text.index(opening) + len(opening)
        end = text.index("</script>", start)
        content = json.loads(text[start:end])
        change(content)
        return text[:start] + clip_data.script_json(content) + text[end:]

    images = {}
    text = replaced(text, '<script type="application/json" class="pictures" data-clip="a">', images.update)
    text = replaced(text, '<script type="application/json" id="data">', lambda data: edit(data, images))
    text = replaced(
        text, '<script type="application/json" class="pictures" data-clip="a">', lambda old: old.update(images)
    )
    file = folder / "report.html"
    file.write_text(text)
    return file.as_uri()
