"""What a person looks at: the table of steps, metrics.csv and .json, and one page with film strips."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from string import Template

import cv2
import numpy as np
import pandas as pd

from adapters.sequence import Clip, MaskSequence
from ensemble.clip_run import ClipRecord, load_result
from ensemble.recipe import Recipe
from ensemble.steps import Propagate
from ensemble.store import atomic_write

STRIPS = 8  # film strips on the page: the best gains and the worst losses
TINT = (225, 20, 140)
KEY = (255, 200, 0)


def write_metrics(recipe: Recipe, clips: Sequence[Clip], records: Sequence[ClipRecord]) -> str:
    """Writes metrics.csv (a row per clip, expression and step) and metrics.json, where there is ground truth.

    Returns:
        The table to print: J, F and J&F of every source and step, in percent.
    """
    frame = scores_frame(clips, records)
    if frame.empty:
        return "no ground truth: nothing to score"
    atomic_write(recipe.out / "metrics.csv", frame.to_csv(index=False, float_format="%.17g"))
    steps = summary(recipe, frame)
    atomic_write(
        recipe.out / "metrics.json",
        json.dumps(
            {
                "recipe": recipe.name,
                "output": recipe.output,
                "clips": int(frame["clip"].nunique()),
                "expressions": int(frame.groupby(["clip", "expression"]).ngroups),
                "steps": {r.step: {"J": r.J, "F": r.F, "J&F": r.JF} for r in steps.itertuples()},
            },
            indent=1,
        ),
    )
    return table_text(recipe, steps, frame)


def scores_frame(clips: Sequence[Clip], records: Sequence[ClipRecord]) -> pd.DataFrame:
    """All scores, one row per clip, expression and step: clip, expression, text, step, J, F, J&F in 0..1."""
    texts = {(c.name, e.id): e.text for c in clips for e in c.expressions}
    rows = [
        {"clip": r.clip, "expression": e, "text": texts[r.clip, e], "step": step, **s, "J&F": (s["J"] + s["F"]) / 2}
        for r in records
        for step, of_step in r.scores.items()
        for e, s in of_step.items()
    ]
    return pd.DataFrame(rows, columns=["clip", "expression", "text", "step", "J", "F", "J&F"])


def summary(recipe: Recipe, frame: pd.DataFrame) -> pd.DataFrame:
    """J, F and J&F of every source and step: the mean over expressions, as Ref-YouTube-VOS does."""
    order = [n for n in [*recipe.sources, *recipe.steps] if n in set(frame.step)]
    means = frame.groupby("step")[["J", "F"]].mean().loc[order].reset_index()
    return means.assign(JF=(means.J + means.F) / 2)


def describe(recipe: Recipe, name: str) -> str:
    """What a row of the table is, in a few words."""
    if name in recipe.sources:
        label = recipe.sources[name].label()
        return f"source{f', {label}' if label else ''}"
    step = recipe.steps[name]
    if isinstance(step, Propagate):
        return f"{step.settings['input']} propagated by {recipe.describe_propagator(step.settings['with'])}"
    return step.describe()


def table_text(recipe: Recipe, steps: pd.DataFrame, frame: pd.DataFrame) -> str:
    """The table for the terminal."""
    width = max(len(n) for n in steps.step)
    expressions = frame.groupby(["clip", "expression"]).ngroups
    lines = [
        f"\n{recipe.name} on {recipe.config['data']['dataset']}:"
        f" {frame['clip'].nunique()} clips, {expressions} expressions (percent, mean over expressions)",
        f"{'':{width}}     J     F   J&F",
    ]
    for r in steps.itertuples():
        mark = "  <- output" if r.step == recipe.output else ""
        lines.append(
            f"{r.step:{width}} {100 * r.J:5.1f} {100 * r.F:5.1f} {100 * r.JF:5.1f}  {describe(recipe, r.step)}{mark}"
        )
    return "\n".join(lines)


def film_strip(
    clip: Clip,
    rows: Mapping[str, MaskSequence | None],
    columns: int = 6,
    width: int = 200,
) -> np.ndarray:
    """Frames across, one row per mask sequence, masks tinted and outlined; a row's own key frames are underlined.

    Args:
        clip: whose frames.
        rows: {label: masks}; None draws the bare frames.
        columns: how many frames, evenly spaced, key frames among them.
        width: of one frame in pixels.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    keys = {label: set(s.notes.get("key_frames", [])) if s else set() for label, s in rows.items()}
    times = _times(len(clip), columns, sorted(set().union(*keys.values())))
    scale = width / clip.size[1]
    size = (width, max(1, round(clip.size[0] * scale)))
    bar = 16
    strips = []
    for label, sequence in rows.items():
        title = np.full((bar, len(times) * (width + 2), 3), 255, np.uint8)
        cv2.putText(title, label, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
        cells = []
        for t in times:
            cell = cv2.resize(clip.read(t), size, interpolation=cv2.INTER_AREA)
            if sequence is not None:
                mask = cv2.resize(sequence.prob_at(t), size, interpolation=cv2.INTER_AREA) > 127
                cell = overlay(cell, mask)
            if t in keys[label]:
                cell[-4:] = KEY
            cells.append(np.pad(cell, ((0, 2), (0, 2), (0, 0)), constant_values=255))
        strips += [title, np.hstack(cells)]
    return np.vstack(strips)


def overlay(image: np.ndarray, mask: np.ndarray, colour=TINT) -> np.ndarray:
    """The image [H, W, 3] with the mask [H, W] tinted and outlined."""
    out = image.copy()
    out[mask] = (0.55 * out[mask] + 0.45 * np.array(colour)).astype(np.uint8)
    edges, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, edges, -1, colour, 1)
    return out


def write_page(recipe: Recipe, clips: Sequence[Clip], records: Sequence[ClipRecord]) -> None:
    """Writes report.html: one self-contained page with the table and film strips of the most telling expressions."""
    frame = scores_frame(clips, records)
    by_name, by_record = {c.name: c for c in clips}, {r.clip: r for r in records}
    strips = [
        _strip_html(recipe, by_name[clip], by_record[clip], expression, frame)
        for clip, expression in _telling(recipe, frame, clips)
    ]
    page = Template(PAGE).substitute(
        title=html.escape(f"{recipe.name} on {recipe.config['data']['dataset']}"),
        table=_table_html(recipe, frame) if not frame.empty else "<p>No ground truth: nothing to score.</p>",
        strips="\n".join(strips),
    )
    atomic_write(recipe.out / "report.html", page)


def _telling(recipe: Recipe, frame: pd.DataFrame, clips: Sequence[Clip]) -> list[tuple[str, str]]:
    """(clip, expression) of the best gains and worst losses of the output over the best source on average."""
    if frame.empty:
        return [(c.name, e.id) for c in clips for e in c.expressions[:1]][:STRIPS]
    table = frame.pivot(index=["clip", "expression"], columns="step", values="J&F")
    sources = [s for s in recipe.sources if s in table]
    if not sources or recipe.output not in table:
        return list(table.index[:STRIPS])
    gain = (table[recipe.output] - table[table[sources].mean().idxmax()]).sort_values(ascending=False)
    half = STRIPS // 2
    return list(dict.fromkeys([*gain.index[:half], *gain.index[-half:]]))


def _strip_html(recipe: Recipe, clip: Clip, record: ClipRecord, expression: str, frame: pd.DataFrame) -> str:
    rows: dict[str, MaskSequence | None] = {"frames": None}
    truth = clip.truth.read(expression) if clip.truth else None
    if truth is not None:
        rows["ground truth"] = truth
    scores = frame[(frame["clip"] == clip.name) & (frame.expression == expression)].set_index("step")["J&F"]
    for name in [*recipe.sources, *recipe.steps]:
        label = f"{name}  J&F {100 * scores[name]:.1f}" if name in scores else name
        rows[label] = load_result(recipe, clip, name, record.keys[name])[expression]
    picture = film_strip(clip, rows)
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    text = next(e.text for e in clip.expressions if e.id == expression)
    encoded = base64.b64encode(data).decode()
    return (
        f"<figure><figcaption>{html.escape(clip.name)}, expression {html.escape(expression)}:"
        f" <q>{html.escape(text)}</q></figcaption>"
        f'<img alt="film strip" src="data:image/jpeg;base64,{encoded}"></figure>'
    )


def _table_html(recipe: Recipe, frame: pd.DataFrame) -> str:
    lines = []
    for r in summary(recipe, frame).itertuples():
        mark = ' class="output"' if r.step == recipe.output else ""
        lines.append(
            f"<tr{mark}><th>{html.escape(r.step)}</th><td>{html.escape(describe(recipe, r.step))}</td>"
            f"<td>{100 * r.J:.1f}</td><td>{100 * r.F:.1f}</td><td>{100 * r.JF:.1f}"
            f'<svg viewBox="0 0 100 8" preserveAspectRatio="none"><rect width="{100 * r.JF:.1f}" height="8"/></svg>'
            "</td></tr>"
        )
    head = "<tr><th>step</th><th>what</th><th>J</th><th>F</th><th>J&amp;F</th></tr>"
    return f"<table>{head}{''.join(lines)}</table>"


def _times(frames: int, columns: int, wanted: Sequence[int]) -> list[int]:
    """Evenly spaced frames; the nearest one gives way to each wanted frame."""
    times = list(dict.fromkeys(int(t) for t in np.linspace(0, frames - 1, min(columns, frames)).round()))
    for t in list(wanted)[: len(times)]:
        if t not in times:
            free = [i for i, old in enumerate(times) if old not in wanted]
            times[min(free, key=lambda i: abs(times[i] - t))] = t
    return sorted(times)


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title>
<meta name="viewport" content="width=device-width">
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } th { text-align: left; } td, th { padding: .2rem .8rem; }
tr.output { font-weight: bold; } td svg { width: 8rem; height: .6rem; margin-left: .6rem; fill: #4a7; }
figure { margin: 2rem 0; } img { max-width: 100%; }
</style></head><body>
<h1>$title</h1>
$table
<h2>Film strips: the best gains, then the worst losses, against the best source</h2>
<p>Key frames are underlined in yellow.</p>
$strips
</body></html>
"""
