"""report.html: a single file that opens from disk, with all scores and the images of the most informative clips.

The page is `web/page.html` with its style, scripts and data inserted. The images of a clip are written to
`report/CLIP.js` when the clip is computed (`clip_data.py`). As many as fit into PAGE_BYTES are also embedded in the
page; the page loads the others on demand. Without the folder `report/`, the page still has all scores and curves.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.io.disk import atomic_write
from rvos_ensemble.ensemble.engine.storage.results import Place
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.report.frame import scores_frame
from rvos_ensemble.ensemble.report.page import clip_data
from rvos_ensemble.ensemble.report.page.page_data import no_data, page_data
from rvos_ensemble.ensemble.report.record import ClipRecord

PAGE_BYTES = 12 * 2**20  # maximum size of report.html, unless the scores alone need more
ABLATIONS = "ablations"  # folder in that of a run: a folder per ablation, named by what it compares
FOLDER = Path(__file__).parent / "web"  # the page, its style and its scripts
SCRIPTS = (  # page.js, which starts the page, is the last
    "elements.js",
    "charts.js",
    "pictures.js",
    "gif.js",
    "files.js",
    "tiles.js",
    "viewer.js",
    "compare.js",
    "graph.js",
    "step.js",
    "ablations.js",
    "expressions.js",
    "provenance.js",
    "page.js",
)


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
        return atomic_write(file, assemble(out, no_data(f"Ablations in {out.name}"), {}))
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
        "head": head(data["title"]),
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


def head(title: str, *styles: Path) -> str:
    """The start of a page up to its body, with the style of all pages.

    Args:
        title: of the page.
        styles: further files of CSS.
    """
    style = "".join(file.read_text(encoding="utf-8") for file in (FOLDER / "page.css", *styles))
    template = Template((FOLDER / "head.html").read_text(encoding="utf-8"))
    return template.substitute(title=html.escape(title), style=style.rstrip())


def most_informative_first(recipe: Recipe, frame: pd.DataFrame) -> list[str]:
    """Names of clips, the most informative first: largest gain over the best source, largest loss, next gain, ..."""
    table = frame.pivot(index=["clip", "expression"], columns="step", values="J&F")
    sources = [s for s in recipe.sources if s in table]
    if not sources or recipe.output not in table:
        return list(dict.fromkeys(frame["clip"]))
    gain = (table[recipe.output] - table[table[sources].mean().idxmax()]).sort_values(ascending=False, kind="stable")
    clips = [clip for clip, _ in gain.index]
    return list(dict.fromkeys(c for pair in zip(clips, reversed(clips), strict=True) for c in pair))


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
