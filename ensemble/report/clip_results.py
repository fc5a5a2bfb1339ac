"""The results of one clip of a run: its graph computed, scored, and written."""

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
from rvos_ensemble.ensemble.engine.results import Draft, Place
from rvos_ensemble.ensemble.engine.store import Store
from rvos_ensemble.ensemble.metrics.frame_scores import FrameScores, means_of, pack_scores, score
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.report import clip_data, overlays
from rvos_ensemble.ensemble.report.annotations import digest_of_tree, write_tree
from rvos_ensemble.ensemble.report.record import ClipRecord, pack_record, read_record, unpack_record

FORMAT = b"2"  # of the files beside the masks; raise it when one of them changes: older ones are then made again


def run_clip(recipe: Recipe, pending: Path, clip: Clip) -> ClipRecord:
    """Takes one clip through the recipe. Never raises for what is wrong with the clip: the record says so.

    Args:
        recipe: the recipe.
        pending: folder of this run's results, see `ensemble/engine/results.py`.
        clip: the clip.
    """
    try:
        record = _run(recipe, pending, clip)
    except (Exception, SystemExit) as error:  # one bad video never sinks a run
        failure = Failure(message_of(error), traceback.format_exc(), isinstance(error, InputError))
        record = _failed(recipe, clip, failure)
    record.peak_mb = _peak_mb()
    return record


def reusable(recipe: Recipe, places: Sequence[Place], clip: Clip) -> tuple[ClipRecord, Place] | None:
    """The record of an earlier run and its place, if neither inputs nor recipe nor results have changed since.

    Args:
        recipe: the recipe.
        places: where results of the clip may lie; the first that is valid is taken.
        clip: the clip.
    """
    try:
        keys, truth = keys_of(recipe, clip), clip.truth.fingerprint() if clip.truth else ""
    except Exception:  # whatever is wrong is reported when the clip is checked and computed
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
    """The masks of a source or step of a clip that has been computed; None where the store has lost them."""
    if name in recipe.sources and not recipe.sources[name].stored:
        return recipe.sources[name].predict(clip)
    return Store(recipe.store).load(clip.name, name, key)


def side_files(recipe: Recipe, clip: Clip) -> list[str]:
    """The files beside the masks, by `results.PARTS`: scores of every frame, the report's pictures, overlays."""
    names = ["scores.npz"]
    if recipe.config["report"]:
        names.append("report.js")
    if recipe.config["overlays"]:
        names += [f"overlays/{e.id}.{recipe.config['overlays']}" for e in clip.expressions]
    return names


def _run(recipe: Recipe, pending: Path, clip: Clip) -> ClipRecord:
    keys = keys_of(recipe, clip)
    truth = clip.truth.fingerprint() if clip.truth else ""
    graph = Graph(clip, Store(recipe.store), nodes_of(recipe, keys, keys), stop=True)
    by_key = graph.predictions(keys.values())
    if graph.failures:
        return _failed(recipe, clip, next(iter(graph.failures.values())))
    results = {name: by_key[key] for name, key in keys.items()}
    record = ClipRecord(clip.name, frames=len(clip), output=recipe.output, keys=keys, truth=truth)
    record.computed, record.seconds = graph.computed, graph.seconds
    record.notes = {n: {e: dict(s.notes) for e, s in p.items() if s.notes} for n, p in results.items()}
    output = results[recipe.output]
    results = {n: p for n, p in results.items() if not isinstance(p, Objects)}  # what can be scored and shown
    started = time.perf_counter()
    scores = score(clip, results)
    record.scores = means_of(scores)
    record.seconds["score"] = time.perf_counter() - started
    started = time.perf_counter()
    with Draft(pending, clip.name) as draft:
        if recipe.config["annotations"]:
            record.pictures = write_tree(draft, clip, output)
        for name, data in _side_files(recipe, clip, results, scores):
            draft.write(name, data)
            record.files[name] = _digest(data)
        record.seconds["write"] = time.perf_counter() - started
        data = pack_record(record)
        draft.write("record.json", data)
    return unpack_record(data)  # as a rerun will read it


def _failed(recipe: Recipe, clip: Clip, failure: Failure) -> ClipRecord:
    """The record of a clip that failed; where its files are at fault, everything that is wrong with them."""
    message = failure.message
    if failure.bad_input:
        message = "\n".join(dict.fromkeys([*message.split("\n"), *inspect(recipe, clip)]))
    return ClipRecord(clip.name, "failed", message, len(clip), trace=failure.trace)


def _is_valid(recipe: Recipe, clip: Clip, old: ClipRecord, place: Place, keys: dict[str, str], truth: str) -> bool:
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
    """The files that `side_files` names, with their bytes."""
    names = iter(side_files(recipe, clip))
    yield next(names), pack_scores(scores, len(clip))
    if recipe.config["report"]:
        yield next(names), clip_data.pack(clip, results)
    for e, name in zip(clip.expressions, names, strict=False):
        yield name, overlays.encode(clip, results[recipe.output][e.id], recipe.config["overlays"])


def _peak_mb() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16, person=FORMAT).hexdigest()


def _digest_of_file(path: Path) -> str | None:
    return _digest(path.read_bytes()) if path.is_file() else None
