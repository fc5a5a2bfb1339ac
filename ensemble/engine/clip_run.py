"""One clip through a recipe: keys, steps, scores, and the masks on disk."""

from __future__ import annotations

import hashlib
import json
import resource
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rvos_ensemble.adapters.core import png
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import Component
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Objects, Prediction, check_prediction
from rvos_ensemble.ensemble.engine.results import Draft, Place
from rvos_ensemble.ensemble.engine.store import Store, key_of
from rvos_ensemble.ensemble.metrics.frame_scores import FrameScores, means_of, pack_scores, score
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.report import clip_data, overlays
from rvos_ensemble.ensemble.steps.step import Step
from rvos_ensemble.propagators.core.refine import refine

SIDE_FORMAT = (
    b"2"  # of the files that `_side_files` makes; raise it when one of them changes: older ones are made again
)


@dataclass
class ClipRecord:
    """What became of a clip; kept as json beside the results, so that a rerun knows what is done.

    Attributes:
        clip: its name.
        status: "done", "reused" (nothing had to be computed) or "failed".
        error: why it failed.
        frames: how many it has.
        output: name of the source or step whose masks were written.
        keys: of every source and step, see `keys_of`; with output and truth they say whether the record still holds.
        truth: fingerprint of the ground truth it was scored against.
        pictures: digest of the PNGs it wrote.
        files: {part of the results: digest} of what lies beside the masks; see `side_files`.
        scores: {source or step: {expression: {"J": mean, "F": mean}}}; of every frame: `frame_scores`.
        notes: {source or step: {expression: notes}}: key frames, groups, propagator, where scores come from.
        seconds: spent on each step, "read" and "write" and "score" included.
        computed: steps that were computed, not taken from the store.
        peak_mb: of the process that did the work.
        trace: where the error came from, for those who mend programs; not kept in the record's file.
    """

    clip: str
    status: str = "done"
    error: str = ""
    frames: int = 0
    output: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    truth: str = ""
    pictures: str = ""
    files: dict[str, str] = field(default_factory=dict)
    scores: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    notes: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)
    peak_mb: float = 0.0
    trace: str = ""


def run_clip(recipe: Recipe, pending: Path, clip: Clip) -> ClipRecord:
    """Takes one clip through the recipe. Never raises for what is wrong with the clip: the record says so.

    Args:
        recipe: what to do.
        pending: folder of this run's results, see `results.py`.
        clip: with what.
    """
    try:
        record = _run(recipe, pending, clip)
    except (Exception, SystemExit) as e:  # one bad video never sinks a run
        record = ClipRecord(clip.name, "failed", message_of(e), len(clip))
        if isinstance(e, InputError):  # one fault was met; what else is wrong with the files of the clip?
            record.error = "\n".join(dict.fromkeys([*e.problems, *inspect(recipe, clip)]))
        record.trace = traceback.format_exc()
    record.peak_mb = _peak_mb()
    return record


def inspect(recipe: Recipe, clip: Clip) -> list[str]:
    """Everything that is wrong with what a clip and the recipe's mask files hold, found by reading all of it."""
    found: list[str] = []
    for where, look in [("", clip.inspect), *((f"source {n}: ", a.inspect) for n, a in recipe.sources.items())]:
        try:
            found.extend([f"{where}{p}" for p in (look(clip) if where else look())])
        except Exception as e:  # of an adapter of the user's
            found.append(f"{where}{message_of(e)}")
    return found


def message_of(e: BaseException) -> str:
    """The error in one sentence; for errors that are neither bad input nor I/O, with their type and source line."""
    if isinstance(e, (InputError, OSError)):
        return str(e)
    frames = traceback.extract_tb(e.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(e).__name__}: {e}{where}"


def held(recipe: Recipe, places: Sequence[Place], clip: Clip) -> tuple[ClipRecord, Place] | None:
    """The record of an earlier run and its place, if neither inputs nor recipe nor results have changed since.

    Args:
        recipe, clip: what is to be done.
        places: where results of the clip may lie, the first that holds is taken.
    """
    try:
        keys, truth = keys_of(recipe, clip), clip.truth.fingerprint() if clip.truth else ""
    except Exception:  # whatever is wrong, those who check and compute the clip will tell
        return None
    for place in places:
        old = read_record(place.path(clip.name, "record.json"))
        try:
            if old is not None and _holds(recipe, clip, old, place, keys, truth):
                return replace(old, status="reused", computed=[], peak_mb=_peak_mb()), place
        except Exception:
            continue
    return None


def _holds(recipe: Recipe, clip: Clip, old: ClipRecord, place: Place, keys: dict[str, str], truth: str) -> bool:
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


def _run(recipe: Recipe, pending: Path, clip: Clip) -> ClipRecord:
    keys = keys_of(recipe, clip)
    truth = clip.truth.fingerprint() if clip.truth else ""
    record = ClipRecord(clip.name, frames=len(clip), output=recipe.output, keys=keys, truth=truth)
    results = compute(recipe, clip, keys, record)
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


def _peak_mb() -> float:
    """Of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def pack_record(record: ClipRecord) -> bytes:
    """A record as json, with a digest: what it says is believed by later runs."""
    told = json.loads(json.dumps({k: v for k, v in asdict(record).items() if k != "trace"}))
    return json.dumps({"digest": key_of(told), **told}, indent=1).encode()


def unpack_record(data: bytes) -> ClipRecord:
    """The record in a file.

    Raises:
        ValueError, TypeError, KeyError: not what was written.
    """
    told = json.loads(data)
    if told.pop("digest") != key_of(told):
        raise ValueError("the digest of a record does not match")
    return ClipRecord(**told)


def read_record(file: Path) -> ClipRecord | None:
    """The record in a file, None where there is none, or not the one that was written."""
    try:
        return unpack_record(file.read_bytes())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def keys_of(recipe: Recipe, clip: Clip, known: dict[int, str] | None = None) -> dict[str, str]:
    """{source or step: key}: two keys are equal when everything the result depends on is.

    That is: the clip's names, expressions and size; settings, version and own code of the component; for a model or
    propagator its weights and the pictures; for mask files their bytes; for a step the keys of its inputs.

    Args:
        recipe, clip: what to do, and with what.
        known: {id of an adapter: its key for this clip}, read and filled: recipes that share adapters hash files once.
    """
    known = {} if known is None else known
    about = [clip.name, clip.frames, clip.size, [[e.id, e.text, e.objects] for e in clip.expressions]]
    keys = {}
    for name, adapter in recipe.sources.items():
        if id(adapter) not in known:
            pictures = clip.fingerprint if adapter.stored else ""
            known[id(adapter)] = key_of("source", about, _identity(adapter), adapter.fingerprint(clip), pictures)
        keys[name] = known[id(adapter)]
    for name, step in recipe.steps.items():
        extra: list[Any] = [f for f in [step.fingerprint(clip)] if f]
        if step.propagator:
            propagator = recipe.propagators[step.propagator]
            extra = [_identity(propagator), propagator.fingerprint(), clip.fingerprint]
        keys[name] = key_of("step", about, _identity(step)[:4], _settings_by_key(step, keys), extra)
    return keys


def compute(recipe: Recipe, clip: Clip, keys: Mapping[str, str], record: ClipRecord) -> dict[str, Prediction]:
    """Every source and step of the recipe for one clip, from the store where it is there.

    Steps that propagate with the same propagator and are ready at the same time ride in one sweep.
    """
    store = Store(recipe.store)
    results: dict[str, Prediction] = {}

    def keep(name: str, prediction: Prediction, started: float, save: bool = True) -> None:
        results[name] = check_prediction(prediction, clip, name)
        if save:
            store.save(clip.name, name, keys[name], prediction)
            results[name] = store.load(clip.name, name, keys[name]) or prediction  # compressed: memory stays small
        record.computed.append(name)
        record.seconds[name] = record.seconds.get(name, 0.0) + time.perf_counter() - started

    def stored(name: str) -> bool:
        prediction = store.load(clip.name, name, keys[name])
        if prediction is not None:
            results[name] = prediction
        return prediction is not None

    for name, adapter in recipe.sources.items():
        if not (adapter.stored and stored(name)):
            started = time.perf_counter()
            keep(name, adapter.predict(clip), started, save=adapter.stored)
    waiting = {name: step for name, step in recipe.steps.items() if not stored(name)}
    while waiting:
        ready = {n: s for n, s in waiting.items() if all(i in results for i in s.inputs)}
        simple = next((n for n, s in ready.items() if not s.propagator), None)
        started = time.perf_counter()
        if simple:
            done = {simple: ready[simple].run(clip, results)}
        else:
            name = next(iter(ready.values())).propagator
            mover = recipe.propagators[name]
            riders = [s for s in ready.values() if s.propagator == name][: None if mover.independent else 1]
            jobs = [job for step in riders for job in step.jobs(clip, results)]
            moved = iter(refine(clip, jobs, mover, recipe.engine["cache_mb"]))
            done = {step.name: step.results(results, moved) for step in riders}
        for name, prediction in done.items():
            keep(name, prediction, started)
            started = time.perf_counter()
            del waiting[name]
    return {name: results[name] for name in keys}  # in the recipe's order, wherever they came from


def load_result(recipe: Recipe, clip: Clip, name: str, key: str) -> Prediction | None:
    """The masks of a source or step of a clip that has been computed; None where the store has lost them."""
    if name in recipe.sources and not recipe.sources[name].stored:
        return recipe.sources[name].predict(clip)
    return Store(recipe.store).load(clip.name, name, key)


def side_files(recipe: Recipe, clip: Clip) -> list[str]:
    """What lies beside the masks, by `results.PARTS`: scores of every frame, the report's pictures, overlays."""
    names = ["scores.npz"]
    if recipe.config["report"]:
        names.append("report.js")
    if recipe.config["overlays"]:
        names += [f"overlays/{e.id}.{recipe.config['overlays']}" for e in clip.expressions]
    return names


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


def write_tree(draft: Draft, clip: Clip, prediction: Prediction) -> str:
    """Writes `Annotations/EXPRESSION/FRAME.png` of a clip.

    Returns:
        Digest of all the PNGs, as `digest_of_tree` finds it.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, data in pictures(clip, prediction):
        draft.write(f"Annotations/{name}", data)
        digest.update(data)
    return digest.hexdigest()


def digest_of_tree(folder: Path, clip: Clip) -> str | None:
    """Digest of the PNGs of a clip, None where one is missing or there are others."""
    digest = hashlib.blake2b(digest_size=16)
    names = picture_names(clip)
    try:
        for name in names:
            digest.update((folder / name).read_bytes())
    except OSError:
        return None
    return digest.hexdigest() if sum(1 for _ in folder.rglob("*.*")) == len(names) else None


def picture_names(clip: Clip) -> list[str]:
    """`EXPRESSION/FRAME.png` of every frame of every expression, in the order they are written."""
    return [f"{e.id}/{frame}.png" for e in clip.expressions for frame in clip.frames]


def pictures(clip: Clip, prediction: Prediction) -> Iterator[tuple[str, bytes]]:
    """(`EXPRESSION/FRAME.png`, its bytes) of a prediction; expressions that share their masks are encoded once."""
    encoded: dict[int, list[bytes]] = {}
    for e in clip.expressions:
        sequence: MaskSequence = prediction[e.id]
        if id(sequence.masks) not in encoded:
            encoded[id(sequence.masks)] = [png.encode(sequence.mask(t)) for t in range(len(clip))]
        for frame, data in zip(clip.frames, encoded[id(sequence.masks)], strict=True):
            yield f"{e.id}/{frame}.png", data


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16, person=SIDE_FORMAT).hexdigest()


def _digest_of_file(path: Path) -> str | None:
    return _digest(path.read_bytes()) if path.is_file() else None


def _identity(component: Component) -> list[Any]:
    """What a component is, apart from data: its name, version, settings, and its code where it is a user's file."""
    cls = type(component)
    code = hashlib.blake2b(cls.file.read_bytes()).hexdigest() if cls.file else ""
    return [cls.__module__, cls.__qualname__, cls.version, code, _hash_files(vars(component.settings))]


def _settings_by_key(step: Step, keys: Mapping[str, str]) -> dict[str, Any]:
    """The settings with inputs called by their keys and without the propagator's name: names are the user's."""
    settings = {}
    for name, value in vars(step.settings).items():
        if name in ("input", "inputs", "scores_from") and value is not None:
            value = keys[value] if isinstance(value, str) else [keys[v] for v in value]
        if name != "with":
            settings[name] = _hash_files(value)
    return settings


def _hash_files(value: Any) -> Any:
    """Settings with the content of a `file` they name beside its name."""
    if not isinstance(value, Mapping):
        return value
    return {
        k: [v, hashlib.blake2b(Path(v).expanduser().read_bytes()).hexdigest()] if k == "file" and v else _hash_files(v)
        for k, v in value.items()
    }
