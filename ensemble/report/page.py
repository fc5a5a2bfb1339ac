"""report.html: a single file that opens from disk, with all scores and the images of the most informative clips.

The page is `web/page.html` with its style, scripts and data inserted. The images of a clip are written to `report/CLIP.js`
when the clip is computed (`ensemble/report/clip_data.py`). As many as fit into PAGE_BYTES are also embedded in the
page; the page loads the others on demand. Without the folder `report/`, the page still has all scores and curves.
"""

from __future__ import annotations

import base64
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.io.disk import atomic_write
from rvos_ensemble.ensemble.engine.results import Place
from rvos_ensemble.ensemble.metrics.frame_scores import FrameScores, read_scores
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.report import clip_data
from rvos_ensemble.ensemble.report.record import ClipRecord
from rvos_ensemble.ensemble.report.table import BELOW, describe, scores_frame, summary, with_oracle

PAGE_BYTES = 12 * 2**20  # maximum size of report.html, unless the scores alone need more
ABLATIONS = "ablations"  # folder in that of a run: a folder per ablation, named by what it compares
FOLDER = Path(__file__).parent / "web"  # the page, its style and its scripts
SCRIPTS = ("draw.js", "pictures.js", "viewer.js", "page.js")
NO_SCORE = 65535  # in the curves of a step without scores; scores are in per mille


def write_page(
    recipe: Recipe, folder: Path, clips: Sequence[Clip], records: Sequence[ClipRecord], places: Mapping[str, Place]
) -> None:
    """Writes report.html.

    Args:
        recipe: the recipe of the run.
        folder: folder for the file.
        clips: the clips with results.
        records: their records, in the same order.
        places: {clip: the folder with its results}.
    """
    frame = scores_frame(clips, records)
    data = page_data(recipe, clips, records, frame, places)
    order = most_informative_first(recipe, frame) or [c.name for c in clips]
    files = [places[name].path(name, "report.js") for name in order]
    atomic_write(folder / "report.html", assemble(recipe.out, data, dict(zip(order, files, strict=True))))


def refresh(out: Path) -> None:
    """Inserts the ablations of a folder into `OUT/report.html` without changing the rest of the page.

    If the page does not exist, writes one that contains only the ablations.
    """
    file = out / "report.html"
    if not file.is_file():
        data = {"title": f"Ablations in {out.name}", "output": ""}
        data |= {"measures": [], "steps": [], "clips": [], "expressions": []}
        return atomic_write(file, assemble(out, data, {}))
    pattern = r'(<script type="application/json" id="ablations-data">).*?(</script>)'
    rows = _ablations(out)
    page = re.sub(pattern, lambda m: m[1] + rows + m[2], file.read_text(encoding="utf-8"), count=1, flags=re.DOTALL)
    atomic_write(file, page)


def assemble(out: Path, data: dict[str, Any], files: Mapping[str, Path]) -> str:
    """The text of the page.

    Args:
        out: folder of the results.
        data: result of `page_data`.
        files: {clip: file with its images}, the most informative clips first; they are embedded until PAGE_BYTES is
            reached.
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
        if file.is_file() and file.stat().st_size + 200 < room:  # 200: the tag around the JSON
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
    """All data of the page except images; the comments explain the keys."""
    names = [*recipe.sources, *recipe.steps]
    steps = pd.DataFrame() if frame.empty else with_oracle(recipe, summary(recipe, frame)).set_index("step")
    below = steps.pop(BELOW).to_dict() if BELOW in steps else {}
    means = {name: [None if math.isnan(v) else v for v in row] for name, *row in steps.itertuples()}
    expressions = []
    for number, (clip, record) in enumerate(zip(clips, records, strict=True)):
        scores = read_scores(places[clip.name].path(clip.name, "scores.npz"))
        for e in clip.expressions:
            expressions.append(
                {
                    "clip": number,
                    "id": e.id,
                    "text": e.text,
                    "J": [_rounded(scores, n, e.id, "J") for n in names],  # one value per source and step
                    "F": [_rounded(scores, n, e.id, "F") for n in names],
                    "curves": _curves(scores, names, e.id, len(clip)),  # uint16 [source or step, J and F, T], base64
                    "notes": {str(i): n for i, name in enumerate(names) if (n := _notes(record, name, e.id))},
                    "nothing": any(s.get(e.id, {}).get("no_target", False) for s in record.scores.values()),
                }
            )
    return {
        "title": f"{recipe.name} on {recipe.config['data']['dataset']}",
        "output": recipe.output,
        "measures": [*steps.columns],  # of the means of each step; steps are compared by the last one
        "steps": [_step(recipe, name, means.get(name), below.get(name)) for name in names],
        "clips": [[c.name, len(c)] for c in clips],
        "expressions": expressions,
    }


def most_informative_first(recipe: Recipe, frame: pd.DataFrame) -> list[str]:
    """Names of clips, the most informative first: largest gain over the best source, largest loss, next gain, ..."""
    table = frame.pivot(index=["clip", "expression"], columns="step", values="J&F")
    sources = [s for s in recipe.sources if s in table]
    if not sources or recipe.output not in table:
        return list(dict.fromkeys(frame["clip"]))
    gain = (table[recipe.output] - table[table[sources].mean().idxmax()]).sort_values(ascending=False, kind="stable")
    clips = [clip for clip, _ in gain.index]
    return list(dict.fromkeys(c for pair in zip(clips, reversed(clips), strict=True) for c in pair))


def _step(recipe: Recipe, name: str, means: list[float | None] | None, below: float | None) -> dict[str, Any]:
    """A source or step: its name, description, whether it is a source, its means, and its distance to the oracle."""
    row = {"name": name, "what": describe(recipe, name), "source": name in recipe.sources, "means": means}
    if below is not None:
        row["below"] = below
    step = recipe.steps.get(name)
    if step is not None and step.counts_votes:  # the page counts the votes of its inputs
        row |= {"inputs": step.inputs, "weights": step.settings.weights or [1] * len(step.inputs)}
    return row


def _notes(record: ClipRecord, name: str, expression: str) -> dict[str, Any]:
    """Key frames, the group of expressions that voted, the votes needed, the chosen input, and a gate's decision."""
    notes = record.notes.get(name, {}).get(expression, {})
    keys = notes.get("key_frames") or notes.get("key_frame")  # a source notes a single number
    result = {
        "keys": [keys] if isinstance(keys, int) else keys,
        "group": notes.get("group"),
        "votes": notes.get("votes"),
        "chosen": notes.get("chosen"),
        "gate": _gate_text(gate) if isinstance(gate := notes.get("gate"), dict) and "jurors" in gate else None,
    }
    return {k: v for k, v in result.items() if v}


def _gate_text(gate: Mapping[str, Any]) -> str:
    """The decision of a gate with its reasons, from its note.

    >>> _gate_text({"decision": "emptied", "presence": 0.25, "tau": 0.5, "jurors": {"gpt": 0.25, "sam3": None}})
    'emptied: presence 0.25, tau 0.5 (gpt 0.25, sam3 no opinion)'
    """
    jurors = ", ".join(f"{name} {'no opinion' if p is None else f'{p:.3g}'}" for name, p in gate["jurors"].items())
    presence = "" if gate["presence"] is None else f"presence {gate['presence']:.3g}, "
    return f"{gate['decision']}: {presence}tau {gate['tau']:.3g} ({jurors})"


def _rounded(scores: FrameScores, step: str, expression: str, which: str) -> float | None:
    """Mean J or F of an expression, None if it was not scored."""
    per_frame = scores.get(step, {}).get(expression)
    return None if per_frame is None else round(getattr(per_frame.mean(), which), 5)


def _curves(scores: FrameScores, steps: Sequence[str], expression: str, frames: int) -> str | None:
    """J and F of each frame in per mille, uint16 [steps, 2, T] as base64; None if no step was scored."""
    if not any(expression in of_step for of_step in scores.values()):
        return None
    values = np.full((len(steps), 2, frames), NO_SCORE, "<u2")
    for i, step in enumerate(steps):
        if per_frame := scores.get(step, {}).get(expression):
            values[i] = np.rint(1000 * np.stack([per_frame.J, per_frame.F]))
    return base64.b64encode(values.tobytes()).decode()


def _ablations(out: Path) -> str:
    """The rows of all ablations of a folder as JSON for the page; an empty list if it has none.

    Each has a folder, `OUT/ablations/NAME`; earlier versions of this package left only the latest, `OUT/ablation.csv`.
    """
    rows = []
    own = sorted((out / ABLATIONS).glob("*/ablation.csv"))
    for file in own or [out / "ablation.csv"]:
        if file.is_file():
            table = pd.read_csv(file, dtype={"values": str})
            if own:  # named by the folder: several ablations of lists are different ones
                table["ablation"] = table["ablation"].str.replace(r"^[^,]*", file.parent.name, regex=True)
            rows += json.loads(table.to_json(orient="records"))
    return clip_data.script_json(rows)
