"""Computes the graph of one clip of a run, scores it and writes the results."""

from __future__ import annotations

import hashlib
import resource
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.prediction import Objects, Prediction
from rvos_ensemble.ensemble.engine.clips import inspect
from rvos_ensemble.ensemble.engine.failures import message_of
from rvos_ensemble.ensemble.engine.graph import Failure, Graph, nodes_of
from rvos_ensemble.ensemble.engine.keys import keys_of
from rvos_ensemble.ensemble.engine.storage.results import Draft, Place
from rvos_ensemble.ensemble.engine.storage.stores import open_store
from rvos_ensemble.ensemble.engine.workers.clip_progress import current
from rvos_ensemble.ensemble.metrics.frame_scores import FrameScores, answers_of, means_of, pack_scores, score
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.report import overlays
from rvos_ensemble.ensemble.report.annotations import digest_of_tree, write_tree
from rvos_ensemble.ensemble.report.page import clip_data
from rvos_ensemble.ensemble.report.record import ClipRecord, pack_record, read_record, unpack_record

FORMAT = b"4"  # of all files except masks; increase it if one changes, so that older files are recomputed


def run_clip(recipe: Recipe, pending: Path, clip: Clip) -> ClipRecord:
    """Runs the recipe on one clip. Errors are returned in the record, not raised.

    Args:
        recipe: the recipe.
        pending: folder for the results of this run, see `ensemble/engine/storage/results.py`.
        clip: the clip.

    Returns:
        The record of the clip.
    """
    try:
        record = _run(recipe, pending, clip)
    except (Exception, SystemExit) as error:  # one failing clip must not stop the run
        failure = Failure(message_of(error), traceback.format_exc(), isinstance(error, InputError))
        record = _failed(recipe, clip, failure)
    record.peak_mb = _peak_mb()
    return record


def reusable(recipe: Recipe, places: Sequence[Place], clip: Clip) -> tuple[ClipRecord, Place] | None:
    """The record of an earlier run and its place, if inputs, recipe and results are unchanged; else None.

    Args:
        recipe: the recipe.
        places: folders that may contain results of the clip; the first valid one is used.
        clip: the clip.
    """
    try:
        keys, truth = keys_of(recipe, clip), clip.truth.fingerprint() if clip.truth else ""
    except Exception:  # problems are reported when the clip is checked and computed
        return None
    for place in places:
        old = read_record(place.path(clip.name, "record.json"))
        try:
            if old is not None and _is_valid(recipe, clip, old, place, keys, truth):
                return replace(old, status="reused", computed=[], peak_mb=_peak_mb()), place
        except Exception:
            continue
    return None


def load_result(recipe: Recipe, clip: Clip, name: str, key: str) -> Prediction | None:
    """The stored masks of a source or step of a computed clip; None if they are no longer in the store."""
    if name in recipe.sources and not recipe.sources[name].stored:
        return recipe.sources[name].predict(clip)
    return open_store(recipe.store).load(clip.name, name, key)


def side_files(recipe: Recipe, clip: Clip) -> list[str]:
    """Names (see `results.PARTS`) of all result files except masks: scores per frame, report images, overlays."""
    names = ["scores.npz"]
    if recipe.config["report"]:
        names.append("report.js")
    if recipe.config["overlays"]:
        names += [f"overlays/{e.id}.{recipe.config['overlays']}" for e in clip.expressions]
    return names


def _run(recipe: Recipe, pending: Path, clip: Clip) -> ClipRecord:
    """Computes, scores and writes the clip; may raise."""
    keys = keys_of(recipe, clip)
    truth = clip.truth.fingerprint() if clip.truth else ""
    progress = current()
    progress.expect({"scores": False, "pictures": False})
    graph = Graph(clip, open_store(recipe.store), nodes_of(recipe, keys, keys), stop=True)
    by_key = graph.predictions(keys.values())
    if graph.failures:
        return _failed(recipe, clip, next(iter(graph.failures.values())))
    results = {name: by_key[key] for name, key in keys.items()}
    record = ClipRecord(clip.name, frames=len(clip), output=recipe.output, keys=keys, truth=truth)
    record.computed, record.seconds = graph.computed, graph.seconds
    record.notes = {n: {e: dict(s.notes) for e, s in p.items() if s.notes} for n, p in results.items()}
    output = results[recipe.output]
    results = {n: p for n, p in results.items() if not isinstance(p, Objects)}  # those to score and show
    started = time.perf_counter()
    with progress.running(["scores"]):
        scores = score(clip, results)
        record.scores = means_of(scores, answers_of(clip, results))
    record.seconds["score"] = time.perf_counter() - started
    started = time.perf_counter()
    with progress.running(["pictures"]), Draft(pending, clip.name) as draft:
        if recipe.config["annotations"]:
            record.pictures = write_tree(draft, clip, output)
        for name, data in _side_files(recipe, clip, results, scores):
            draft.write(name, data)
            record.files[name] = _digest(data)
        record.seconds["write"] = time.perf_counter() - started
        data = pack_record(record)
        draft.write("record.json", data)
    return unpack_record(data)  # exactly as a rerun reads it


def _failed(recipe: Recipe, clip: Clip, failure: Failure) -> ClipRecord:
    """The record of a failed clip; if its input files caused the failure, the error lists all of their problems."""
    message = failure.message
    if failure.bad_input:
        message = "\n".join(dict.fromkeys([*message.split("\n"), *inspect(recipe, clip)]))
    return ClipRecord(clip.name, "failed", message, len(clip), trace=failure.trace)


def _is_valid(recipe: Recipe, clip: Clip, old: ClipRecord, place: Place, keys: dict[str, str], truth: str) -> bool:
    """Whether the record fits the recipe and the clip, and its files are undamaged."""
    if (old.clip, old.output, list(old.keys.items()), old.truth) != (
        clip.name,
        recipe.output,
        list(keys.items()),
        truth,
    ):
        return False
    if any(old.files.get(n, "") != _digest_of_file(place.path(clip.name, n)) for n in side_files(recipe, clip)):
        return False
    if recipe.config["annotations"]:
        return old.pictures == digest_of_tree(place.path(clip.name, "Annotations"), clip)
    return not recipe.config["submission"] or load_result(recipe, clip, old.output, keys[old.output]) is not None


def _side_files(
    recipe: Recipe, clip: Clip, results: Mapping[str, Prediction], scores: FrameScores
) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the files of `side_files`."""
    names = iter(side_files(recipe, clip))
    yield next(names), pack_scores(scores, len(clip))
    if recipe.config["report"]:
        yield next(names), clip_data.pack(clip, results)
    for e, name in zip(clip.expressions, names, strict=False):
        yield name, overlays.encode(clip, results[recipe.output][e.id], recipe.config["overlays"])


def _peak_mb() -> float:
    """Peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _digest(data: bytes) -> str:
    """Digest of a result file, which changes with FORMAT."""
    return hashlib.blake2b(data, digest_size=16, person=FORMAT).hexdigest()


def _digest_of_file(path: Path) -> str | None:
    """Digest of the file; None if it does not exist."""
    return _digest(path.read_bytes()) if path.is_file() else None
