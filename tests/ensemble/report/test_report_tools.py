"""What a reader does with report.html: the graph, two masks compared by a slider, and files to take away."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from helpers.report_page import PIXELS, show
from helpers.tiny import FRAMES, MODELS, T
from PIL import Image

from rvos_ensemble.ensemble.metrics.bootstrap import paired_interval
from rvos_ensemble.ensemble.metrics.frame_scores import read_scores

STEPS = [*MODELS, "smr", "smr_flow"]
READ = {"smr": MODELS, "smr_flow": ("smr", "soc")}  # as in the recipe of `tiny`


def test_the_graph_has_every_step_and_every_input(web, done):
    show(web, done.out)
    assert sorted(web.run("[...document.querySelectorAll('.node')].map((n) => n.dataset.step)")) == sorted(STEPS)
    edges = web.run("[...document.querySelectorAll('.edge')].map((e) => [e.dataset.from, e.dataset.to])")
    assert sorted(map(tuple, edges)) == sorted((i, name) for name, inputs in READ.items() for i in inputs)
    boxes = web.run("[...document.querySelectorAll('.node')].map((n) => [n.dataset.step, n.offsetLeft, n.offsetTop])")
    left = {name: x for name, x, _ in boxes}
    assert all(left[i] < left[name] for name, inputs in READ.items() for i in inputs), "arrows point to the right"
    assert len({(x, y) for _, x, y in boxes}) == len(STEPS), "no two are in one place"
    names = web.run("[...document.querySelectorAll('.node')].map((n) => n.getAttribute('aria-label'))")
    assert any("smr: vote of" in n and f"reads {', '.join(MODELS)}" in n for n in names)


def test_a_step_of_the_graph_shows_its_scores_and_masks(web, done):
    show(web, done.out)
    web.run("document.querySelector('.node[data-step=smr]').focus()")
    web.press("Enter")
    table = pd.read_csv(done.out / "metrics.csv", dtype={"expression": str})
    wide = table.pivot(index=["clip", "expression"], columns="step", values="J&F")
    cells = web.run("[...document.querySelectorAll('#step tbody tr')].map((r) => [...r.cells].map((c) => c.innerText))")
    assert [c[0] for c in cells] == ["smr", *MODELS]
    for name, *_, gain, interval, counts in cells[1:]:
        gains = wide.smr - wide[name]
        low, high = paired_interval({clip: list(of) for clip, of in gains.groupby(level="clip")})
        assert float(gain) == pytest.approx(100 * gains.mean(), abs=0.051)
        assert interval == f"[{100 * low:+.1f}, {100 * high:+.1f}]".replace("-", "−")
        assert counts == f"{(gains >= 0.0005).sum()} / {(gains <= -0.0005).sum()}"
    bins = np.histogram(wide.smr, 10, (0, 1))[0]
    assert web.run("document.querySelector('#step svg').getAttribute('aria-label')").endswith(", ".join(map(str, bins)))
    assert web.run("viewer.row.name") == "smr"
    captions = web.run("[...document.querySelectorAll('#step figcaption')].map((c) => c.textContent)")
    assert captions == [*MODELS, "votes for smr", "smr"]
    same = web.run(
        f"""(() => {{ {PIXELS} viewer.seek(3); return [...document.querySelectorAll("#step figure")].every((f) =>
        pixels(f.querySelector("canvas")).join() === pixels(viewer.rows.find((r) =>
        r.label === f.querySelector("figcaption").textContent).canvas).join()); }})()"""
    )
    assert same, "they follow the frame of the viewer"
    web.run("[...document.querySelectorAll('#step .link')].find((b) => b.textContent === 'smr_flow').click()")
    assert web.run("document.querySelector('#step h3').textContent") == "smr_flow (output)"
    assert web.run("document.querySelectorAll('.node[aria-pressed=true]').length") == 1


def test_the_table_of_steps_has_intervals(web, done):
    show(web, done.out)
    table = pd.read_csv(done.out / "metrics.csv", dtype={"expression": str})
    wide = table.pivot(index=["clip", "expression"], columns="step", values="J&F")
    best = max(MODELS, key=lambda name: wide[name].mean())
    gains = wide.smr_flow - wide[best]
    low, high = paired_interval({clip: list(of) for clip, of in gains.groupby(level="clip")})
    row = web.run("[...document.querySelector('#steps tr.output').cells].map((c) => c.innerText)")
    assert f"[{100 * low:+.1f}, {100 * high:+.1f}]".replace("-", "−") in row
    labels = web.run("[...document.querySelectorAll('#steps td svg')].map((s) => s.getAttribute('aria-label'))")
    bins = np.histogram(wide.soc, 10, (0, 1))[0]
    assert len(labels) == len(STEPS) and labels[0].endswith(", ".join(map(str, bins)))


def test_a_tile_has_the_score_of_the_frame_shown(web, done):
    show(web, done.out)
    scores = read_scores(done.out / "clips/a.npz")
    for t in (0, 2):
        web.run(f"viewer.seek({t})")
        tiles = web.run("viewer.rows.filter((r) => r.name).map((r) => [r.name, r.panel.innerText])")
        for name, text in tiles:
            of = scores[name]["0"]
            shown = float(text.split("J&F ")[1].split()[0])
            assert shown == pytest.approx(50 * (of.J[t] + of.F[t]), abs=0.11), (name, t)
            assert f"mean {50 * (of.J.mean() + of.F.mean()):.1f}" in text


def test_two_masks_are_compared_by_a_slider(web, done):
    show(web, done.out)
    web.run("viewer.chooseStep('soc'); viewer.time.focus()")
    web.press("e")
    assert web.run("document.getElementById('compare').open")
    assert web.run("[...document.querySelectorAll('#compare .name')].map((n) => n.textContent.split(',')[0])") == [
        "soc",
        "ground truth",
    ]
    kept = web.run(
        f"""(() => {{ {PIXELS} const at = (value) => {{ compare.divide.value = value; compare.paint();
        return pixels(compare.canvas); }};
        const left = at(100), right = at(0), both = at(50), width = compare.canvas.width;
        let wrong = 0;
        for (let p = 0; p < both.length; p += 4) {{
          const x = (p / 4) % width; if (Math.abs(x - width / 2) < 2) continue;
          const of = x < width / 2 ? left : right;
          if (both[p] !== of[p] || both[p + 1] !== of[p + 1]) wrong++;
        }}
        return [wrong, left.join() === right.join(), width]; }})()"""
    )
    assert kept[:2] == [0, False] and kept[2] >= 960
    web.run("compare.divide.focus()")
    web.press("ArrowRight")
    assert web.run("compare.divide.value") == "51"
    assert "51 percent soc" in web.run("compare.divide.getAttribute('aria-valuetext')")
    web.run("compare.time.focus()")
    web.press("Home")
    assert web.run("viewer.at") == 0, "the frame changes in the enlarged picture as well"
    nodes = web.call("Accessibility.getFullAXTree")["nodes"]
    assert any(n["role"]["value"] == "dialog" and n.get("name", {}).get("value") for n in nodes if not n["ignored"])
    web.press("Escape")
    assert not web.run("document.getElementById('compare').open")


def saved(web, action) -> tuple[str, bytes]:
    """Name and content of the file that an action hands to the browser."""
    name, text = web.run(
        f"""new Promise((done) => {{ const old = save; save = async (name, blob) => {{ save = old;
        const bytes = new Uint8Array(await blob.arrayBuffer()); let text = "";
        for (const b of bytes) text += String.fromCharCode(b); done([name, btoa(text)]); }}; {action}; }})"""
    )
    return name, base64.b64decode(text)


def test_pictures_and_animations_are_saved(web, done):
    show(web, done.out)
    web.run("viewer.chooseStep('smr')")
    frames = web.run(
        f"""(() => {{ {PIXELS} return viewer.times.map((t, i) => (viewer.seek(i), pixels(viewer.row.canvas))); }})()"""
    )
    frames = np.array(frames).reshape(T, *web.run("[viewer.pictures.height, viewer.pictures.width]"), 4)[..., :3]
    name, data = saved(web, "document.querySelector('#viewer .picture').click()")
    assert name == f"a_0_smr_{FRAMES[-1]}.png"
    assert np.array_equal(np.array(Image.open(io.BytesIO(data)).convert("RGB")), frames[-1])
    name, data = saved(web, "document.querySelector('#viewer .gif').click()")
    animation = Image.open(io.BytesIO(data))
    assert name == "a_0_smr.gif" and animation.n_frames == T and animation.info["loop"] == 0
    for t in range(T):
        animation.seek(t)
        assert animation.info["duration"] == 170
        assert np.abs(np.array(animation.convert("RGB")).astype(int) - frames[t]).mean() < 6


@pytest.mark.parametrize("size", [(1, 1), (3, 1000), (150, 200)])
def test_the_gif_encoder_loses_nothing_of_256_colours(web, done, size):
    """Noise overflows the 4096 codes of LZW many times; Pillow decodes it."""
    random = np.random.default_rng(size[0])
    shades = random.choice(1 << 15, 256, replace=False)
    palette = np.rint(np.stack([shades >> 10, shades >> 5 & 31, shades & 31], 1) * 255 / 31).astype(np.uint8)
    pictures = palette[random.integers(0, 256, (2, *size))]
    show(web, done.out)
    opaque = np.concatenate([pictures, np.full((*pictures.shape[:3], 1), 255, np.uint8)], 3)
    text = base64.b64encode(opaque.tobytes()).decode()
    length = 4 * size[0] * size[1]
    encoded = web.run(
        f"""(() => {{ const all = Uint8ClampedArray.from(bytesOf("{text}"));
        const of = (i) => all.slice(i * {length}, (i + 1) * {length});
        const frames = [0, 1].map((i) => new ImageData(of(i), {size[1]}, {size[0]}));
        let text = ""; for (const b of gif(frames, 17)) text += String.fromCharCode(b); return btoa(text); }})()"""
    )
    animation = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert animation.n_frames == 2
    for i in range(2):
        animation.seek(i)
        assert np.array_equal(np.array(animation.convert("RGB")), pictures[i])


def test_the_table_is_saved_as_csv(web, done):
    show(web, done.out)
    name, data = saved(web, "document.querySelector('.csv').click()")
    got = pd.read_csv(io.BytesIO(data), dtype={"expression": str})
    table = pd.read_csv(done.out / "metrics.csv", dtype={"expression": str})
    assert name == "scores.csv" and list(got.columns[:3]) == ["clip", "expression", "text"]
    for step in STEPS:
        of = table[table.step == step].set_index(["clip", "expression"])
        for measure in ("J", "F", "J&F"):
            ours = got.set_index(["clip", "expression"])[f"{step} {measure}"]
            assert np.abs(ours - of[measure].loc[ours.index]).max() < 1.1e-5
    assert dict(zip(zip(got["clip"], got["expression"], strict=True), got.text, strict=True)) == {
        (r.clip, r.expression): r.text for r in table.itertuples()
    }, "quotes, commas and lines of texts are kept"
