"""What a run leaves: the files of the run as a whole, and their publication together with the results of all clips."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import atomic_write
from rvos_ensemble.adapters.core.io.hashing import content_hash
from rvos_ensemble.adapters.inference import precision
from rvos_ensemble.ensemble import report
from rvos_ensemble.ensemble.engine.storage import results
from rvos_ensemble.ensemble.engine.storage.results import Place
from rvos_ensemble.ensemble.engine.storage.store import key_of
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.report import submission
from rvos_ensemble.ensemble.report.annotations import picture_names, pictures
from rvos_ensemble.ensemble.report.clip_results import load_result
from rvos_ensemble.ensemble.report.provenance import versions
from rvos_ensemble.ensemble.report.record import ClipRecord


def publish(
    recipe: Recipe,
    pending: Path,
    done: Sequence[Clip],
    records: dict[str, ClipRecord],
    fresh: Sequence[str],
    seconds: float,
    arguments: Sequence[str] | None,
) -> str:
    """Writes the files of the run as a whole, and publishes all results.

    Where clips failed, complete results of an earlier run stay published; the finished clips of this run are kept for
    the next one.

    Args:
        recipe: the recipe.
        pending: folder with the results of this run, see `ensemble/engine/storage/results.py`.
        done: the clips with results.
        records: {clip: its record} of all clips, also of those that failed.
        fresh: clips whose results are pending.
        seconds: that the run has taken.
        arguments: of the command line, for commands that are suggested; None where there is none.

    Returns:
        The table to print.

    Raises:
        InputError: the submission would be refused, or masks were lost since this run checked.
        OSError: a file cannot be written.
    """
    out, top = recipe.out, pending / "top"
    complete = len(done) == len(records)
    places = {c.name: Place(pending, True) if c.name in fresh else Place(out) for c in done}
    failed, of_done = len(records) - len(done), [records[c.name] for c in done]
    table = report.write_metrics(recipe, top, done, of_done, failed, arguments)
    if not complete and results.are_complete(out):
        return (
            f"{table}\n\nNot all clips are done, so {out} still holds the results of the earlier run, with settings "
            "in its config.yaml; the finished clips of this run are kept, and the same command resumes it"
        )
    about = manifest(recipe, records, seconds)
    if complete and recipe.config["submission"]:
        about["submission"] = _write_zip(recipe, top / results.ZIP, done, records, places)
    atomic_write(top / "manifest.json", json.dumps(about, indent=1))
    atomic_write(top / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(recipe.config)))
    if recipe.config["report"]:
        report.write_page(recipe, top, done, of_done, places)
    keep = ["clips", *(f for f in ("Annotations", "overlays", "report") if recipe.config[f.lower()])]
    results.publish(out, pending, fresh, [c.name for c in done], keep)
    return table


def manifest(recipe: Recipe, records: dict[str, ClipRecord], seconds: float) -> dict[str, Any]:
    """The content of manifest.json: what was run, with which packages, on which machine, and how long it took."""
    return {
        "recipe": recipe.name,
        "output": recipe.output,
        "seconds": round(seconds, 3),
        "peak_mb": round(max((r.peak_mb for r in records.values()), default=0), 1),
        "python": platform.python_version(),
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
        "precision": {"used": recipe.precisions(), "auto": {k: d._asdict() for k, d in precision.decided().items()}},
        "packages": versions(),
        "propagators": {n: recipe.describe_propagator(n) for n in recipe.propagators},
        "config": recipe.config,
        "clips": {
            n: {k: v for k, v in asdict(records[n]).items() if k not in ("scores", "trace")} for n in sorted(records)
        },
    }


def _write_zip(
    recipe: Recipe, path: Path, clips: Sequence[Clip], records: dict[str, ClipRecord], places: dict[str, Place]
) -> dict[str, str]:
    """Writes the submission; that of the earlier run is kept if it has the same content and is undamaged.

    Returns:
        `of`, a key of everything in it, and `digest` of its bytes, both for manifest.json.
    """
    data, team = recipe.dataset, recipe.config["team"]
    masks = [[c.name, records[c.name].keys[recipe.output], records[c.name].pictures] for c in clips]
    of = key_of(versions()["rvos-ensemble"], data.zip_root, data.team_file, team, masks)
    if digest := _kept(recipe.out, path, of):
        return {"of": of, "digest": digest}
    pngs = (_pngs(recipe, c, records[c.name], places[c.name]) for c in clips)
    submission.write(path, clips, data.zip_root, pngs, team, data.team_file)
    return {"of": of, "digest": content_hash(path)}


def _kept(out: Path, path: Path, of: str) -> str | None:
    """The digest of the published submission, now also at `path`; None if there is none of that key, or it changed."""
    try:
        earlier = json.loads((out / "manifest.json").read_bytes())["submission"]
        if earlier["of"] != of or earlier["digest"] != content_hash(out / results.ZIP):
            return None
        path.unlink(missing_ok=True)
        path.hardlink_to(out / results.ZIP)
    except (OSError, ValueError, TypeError, KeyError):  # also where the file system has no hard links
        return None
    return earlier["digest"]


def _pngs(recipe: Recipe, clip: Clip, record: ClipRecord, place: Place) -> Iterator[bytes]:
    """The PNGs of a clip, from Annotations/, or from the store where that folder is not written."""
    if recipe.config["annotations"]:
        folder = place.path(clip.name, "Annotations")
        return ((folder / name).read_bytes() for name in picture_names(clip))
    prediction = load_result(recipe, clip, recipe.output, record.keys[recipe.output])
    if prediction is None:  # lost since this run checked
        raise InputError(
            f"{recipe.store}: the masks of clip {clip.name} are missing or damaged; run the same command again"
        )
    return (data for _, data in pictures(clip, prediction))
