"""report.html: one file that opens from disk, with every score, and the pictures of the clips that tell most.

The page is `page.html` with its style, scripts and data put in. Pictures of a clip are made with the clip
(`ensemble/report/clip_data.py`) and lie in `report/CLIP.js`; as many as fit into PAGE_BYTES are also put into the page
itself, the others are loaded from there when they are asked for. Without that folder the page still has all scores and
curves.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.disk import atomic_write
from rvos_ensemble.ensemble.engine.results import Place
from rvos_ensemble.ensemble.metrics.frame_scores import FrameScores, read_scores
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.report import clip_data
from rvos_ensemble.ensemble.report.record import ClipRecord
from rvos_ensemble.ensemble.report.table import describe, scores_frame, summary

PAGE_BYTES = 12 * 2**20  # of report.html at most, unless the scores alone take more
FOLDER = Path(__file__).parent
SCRIPTS = ("draw.js", "pictures.js", "viewer.js", "page.js")
NO_SCORE = 65535  # in curves of a step that was not scored; scores are per mille


def write_page(
    recipe: Recipe, folder: Path, clips: Sequence[Clip], records: Sequence[ClipRecord], places: Mapping[str, Place]
) -> None:
    """Writes report.html.

    Args:
        recipe: what was run.
        folder: for the file.
        clips: those that were done.
        records: theirs, in the same order.
        places: where the results of each clip lie.
    """
    frame = scores_frame(clips, records)
    data = page_data(recipe, clips, records, frame, places)
    order = telling(recipe, frame) or [c.name for c in clips]
    files = [places[name].path(name, "report.js") for name in order]
    atomic_write(folder / "report.html", assemble(recipe.out, data, dict(zip(order, files, strict=True))))


def refresh(out: Path) -> None:
    """Puts the ablations of `OUT/ablation.csv` into `OUT/report.html`, and leaves the rest of the page as it is.

    Where there is no page yet it makes one of the ablations alone.
    """
    file = out / "report.html"
    if not file.is_file():
        data = {"title": f"Ablations in {out.name}", "output": "", "steps": [], "clips": [], "expressions": []}
        return atomic_write(file, assemble(out, data, {}))
    pattern = r'(<script type="application/json" id="ablations-data">).*?(</script>)'
    rows = _ablations(out)
    page = re.sub(pattern, lambda m: m[1] + rows + m[2], file.read_text(encoding="utf-8"), count=1, flags=re.DOTALL)
    atomic_write(file, page)


def assemble(out: Path, data: dict[str, Any], files: Mapping[str, Path]) -> str:
    """The page.

    Args:
        out: folder of the results.
        data: of `page_data`.
        files: {clip: its pictures}, which go into the page while there is room, the most telling first.
    """
    parts = {
        "title": html.escape(data["title"]),
        "style": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "script": "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS),
        "data": clip_data.script_json(data),
        "ablations": _ablations(out),
    }
    template = Template((FOLDER / "page.html").read_text(encoding="utf-8"))
    room = PAGE_BYTES - len(template.substitute(parts, pictures="").encode())
    pictures = []
    for clip, file in files.items():
        if file.is_file() and file.stat().st_size + 200 < room:  # 200: the tag around it
            body = clip_data.body_of(file.read_bytes())
            name = html.escape(clip)
            pictures.append(f'<script type="application/json" class="pictures" data-clip="{name}">{body}</script>')
            room -= len(pictures[-1].encode()) + 1
    return template.substitute(parts, pictures="\n".join(pictures))


def page_data(
    recipe: Recipe,
    clips: Sequence[Clip],
    records: Sequence[ClipRecord],
    frame: pd.DataFrame,
    places: Mapping[str, Place],
) -> dict[str, Any]:
    """All that the page knows besides pictures; see the comments for what the keys are."""
    names = [*recipe.sources, *recipe.steps]
    means = {} if frame.empty else {r.step: [r.J, r.F, r.JF] for r in summary(recipe, frame).itertuples()}
    expressions = []
    for number, (clip, record) in enumerate(zip(clips, records, strict=True)):
        scores = read_scores(places[clip.name].path(clip.name, "scores.npz"))
        for e in clip.expressions:
            expressions.append(
                {
                    "clip": number,
                    "id": e.id,
                    "text": e.text,
                    "J": [_rounded(scores, n, e.id, "J") for n in names],  # of every source and step
                    "F": [_rounded(scores, n, e.id, "F") for n in names],
                    "curves": _curves(scores, names, e.id, len(clip)),  # uint16 [source or step, J and F, T], base64
                    "notes": {str(i): n for i, name in enumerate(names) if (n := _notes(record, name, e.id))},
                }
            )
    return {
        "title": f"{recipe.name} on {recipe.config['data']['dataset']}",
        "output": recipe.output,
        "steps": [_step(recipe, name, means.get(name)) for name in names],
        "clips": [[c.name, len(c)] for c in clips],
        "expressions": expressions,
    }


def telling(recipe: Recipe, frame: pd.DataFrame) -> list[str]:
    """Clips that tell most first: of the best gain over the best source, of the worst loss, of the next gain, ..."""
    table = frame.pivot(index=["clip", "expression"], columns="step", values="J&F")
    sources = [s for s in recipe.sources if s in table]
    if not sources or recipe.output not in table:
        return list(dict.fromkeys(frame["clip"]))
    gain = (table[recipe.output] - table[table[sources].mean().idxmax()]).sort_values(ascending=False, kind="stable")
    clips = [clip for clip, _ in gain.index]
    return list(dict.fromkeys(c for pair in zip(clips, reversed(clips), strict=True) for c in pair))


def _step(recipe: Recipe, name: str, means: list[float] | None) -> dict[str, Any]:
    about = {"name": name, "what": describe(recipe, name), "source": name in recipe.sources, "means": means}
    step = recipe.steps.get(name)
    if step is not None and step.counts_votes:  # of these masks the page counts the votes
        about |= {"inputs": step.inputs, "weights": step.settings.weights or [1] * len(step.inputs)}
    return about


def _notes(record: ClipRecord, name: str, expression: str) -> dict[str, Any]:
    """Key frames, the group that voted, and how many votes were needed, where a step says so."""
    notes = record.notes.get(name, {}).get(expression, {})
    keys = notes.get("key_frames") or notes.get("key_frame")  # of a source that names one: its number
    found = {"keys": [keys] if isinstance(keys, int) else keys, "group": notes.get("group")}
    return {k: v for k, v in {**found, "votes": notes.get("votes")}.items() if v}


def _rounded(scores: FrameScores, step: str, expression: str, which: str) -> float | None:
    found = scores.get(step, {}).get(expression)
    return None if found is None else round(getattr(found.mean(), which), 5)


def _curves(scores: FrameScores, steps: Sequence[str], expression: str, frames: int) -> str | None:
    if not any(expression in of for of in scores.values()):
        return None
    values = np.full((len(steps), 2, frames), NO_SCORE, "<u2")
    for i, step in enumerate(steps):
        if found := scores.get(step, {}).get(expression):
            values[i] = np.rint(1000 * np.stack([found.J, found.F]))
    return base64.b64encode(values.tobytes()).decode()


def _ablations(out: Path) -> str:
    """The rows of `OUT/ablation.csv` as JSON for the page, none where there is no such file."""
    file = out / "ablation.csv"
    if not file.is_file():
        return "[]"
    return clip_data.script_json(json.loads(pd.read_csv(file, dtype={"values": str}).to_json(orient="records")))
