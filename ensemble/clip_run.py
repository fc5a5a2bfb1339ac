"""One clip through a recipe: keys, steps, scores, and the masks on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from adapters import png
from adapters.component import Component
from adapters.sequence import Clip, InputError, MaskSequence, Objects, Prediction, check_prediction
from ensemble import overlays, strips
from ensemble.frame_scores import FrameScores, file_name, means_of, pack_scores, score
from ensemble.recipe import Recipe
from ensemble.steps import Propagate, Step, propagate_together
from ensemble.store import Store, atomic_write, key_of

SIDE_FORMAT = (
    b"1"  # of the files that `_side_files` makes; raise it when one of them changes: older ones are made again
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
        files: {name under the results: digest} of what lies beside the masks; see `side_files`.
        scores: {source or step: {expression: {"J": mean, "F": mean}}}; of every frame: `frame_scores`.
        notes: {source or step: {expression: notes}}: key frames, groups, propagator, where scores come from.
        seconds: spent on each step, "read" and "write" and "score" included.
        computed: steps that were computed, not taken from the store.
        peak_mb: of the process that did the work.
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


def run_clip(recipe: Recipe, clip: Clip) -> ClipRecord:
    """Takes one clip through the recipe. Never raises for what is wrong with the clip: the record says so."""
    errors = recipe.out / "errors" / f"{clip.name}.txt"
    try:
        record = _run(recipe, clip)
        errors.unlink(missing_ok=True)
    except Exception as e:  # one bad video never sinks a run
        message = str(e) if isinstance(e, (InputError, OSError)) else f"{type(e).__name__}: {e}"
        record = ClipRecord(clip.name, "failed", message, len(clip))
        with contextlib.suppress(OSError):  # a full disk: the record still carries the reason to the one who waits
            atomic_write(errors, traceback.format_exc())
    record.peak_mb = _peak_mb()
    return record


def held(recipe: Recipe, clip: Clip) -> ClipRecord | None:
    """The record of an earlier run of which nothing has changed, neither inputs nor recipe nor results; else None."""
    old = read_record(recipe.out / "clips" / f"{clip.name}.json")
    if old is None or old.output != recipe.output:
        return None
    try:
        truth = clip.truth.fingerprint() if clip.truth else ""
        if (old.keys, old.truth) != (keys_of(recipe, clip), truth):
            return None
        if any(old.files.get(n, "") != _digest_of_file(recipe.out / n) for n in side_files(recipe, clip)):
            return None
        if recipe.config["annotations"]:
            if old.pictures != digest_of_tree(recipe.out, clip):
                return None
        elif recipe.config["submission"] and load_result(recipe, clip, recipe.output, old.keys[recipe.output]) is None:
            return None
    except Exception:  # whatever is wrong, those who check and compute the clip will tell
        return None
    return replace(old, status="reused", computed=[], peak_mb=_peak_mb())


def _run(recipe: Recipe, clip: Clip) -> ClipRecord:
    keys = keys_of(recipe, clip)
    truth = clip.truth.fingerprint() if clip.truth else ""
    record = ClipRecord(clip.name, frames=len(clip), output=recipe.output, keys=keys, truth=truth)
    results = compute(recipe, clip, keys, record)
    output = results[recipe.output]
    record.notes = {n: {e: dict(s.notes) for e, s in p.items() if s.notes} for n, p in results.items()}
    results = {n: p for n, p in results.items() if not isinstance(p, Objects)}  # what can be scored and shown
    started = time.perf_counter()
    scores = score(clip, results)
    record.scores = means_of(scores)
    record.seconds["score"] = time.perf_counter() - started
    started = time.perf_counter()
    if recipe.config["annotations"]:
        record.pictures = write_tree(recipe.out, clip, output)
    for name, data in _side_files(recipe, clip, results, scores):
        atomic_write(recipe.out / name, data)
        record.files[name] = _digest(data)
    record.seconds["write"] = time.perf_counter() - started
    atomic_write(recipe.out / "clips" / f"{clip.name}.json", json.dumps(asdict(record), indent=1))
    return record


def _peak_mb() -> float:
    """Of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_record(file: Path) -> ClipRecord | None:
    """The record in a file, None where there is none that can be read."""
    try:
        return ClipRecord(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
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
        if isinstance(step, Propagate):
            propagator = recipe.propagators[step.settings["with"]]
            extra = [_identity(propagator), propagator.fingerprint(), clip.fingerprint]
        keys[name] = key_of("step", about, step.op, step.version, _settings_by_key(step, keys), extra)
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
        simple = next((n for n, s in ready.items() if not isinstance(s, Propagate)), None)
        started = time.perf_counter()
        if simple:
            done = {simple: ready[simple].run(clip, results)}
        else:
            name = next(iter(ready.values())).settings["with"]
            mover = recipe.propagators[name]
            riders = [s for s in ready.values() if s.settings["with"] == name][: None if mover.independent else 1]
            done = propagate_together(riders, clip, results, mover, recipe.engine["cache_mb"])
        for name, prediction in done.items():
            keep(name, prediction, started)
            started = time.perf_counter()
            del waiting[name]
    return results


def load_result(recipe: Recipe, clip: Clip, name: str, key: str) -> Prediction | None:
    """The masks of a source or step of a clip that has been computed; None where the store has lost them."""
    if name in recipe.sources and not recipe.sources[name].stored:
        return recipe.sources[name].predict(clip)
    return Store(recipe.store).load(clip.name, name, key)


def side_files(recipe: Recipe, clip: Clip) -> list[str]:
    """What lies beside the masks, names under the results: scores of every frame, the report's pictures, overlays."""
    names = [file_name(clip.name)]
    if recipe.config["report"]:
        names.append(strips.file_name(clip.name))
    if recipe.config["overlays"]:
        names += [f"overlays/{clip.name}/{e.id}.{recipe.config['overlays']}" for e in clip.expressions]
    return names


def _side_files(
    recipe: Recipe, clip: Clip, results: Mapping[str, Prediction], scores: FrameScores
) -> Iterator[tuple[str, bytes]]:
    """The files that `side_files` names, with their bytes."""
    names = iter(side_files(recipe, clip))
    yield next(names), pack_scores(scores, len(clip))
    if recipe.config["report"]:
        yield next(names), strips.pack(clip, results)
    for e, name in zip(clip.expressions, names, strict=False):
        yield name, overlays.encode(clip, results[recipe.output][e.id], recipe.config["overlays"])


def write_tree(out: Path, clip: Clip, prediction: Prediction) -> str:
    """Writes `Annotations/CLIP/EXPRESSION/FRAME.png`, whole or not at all.

    Returns:
        Digest of all the PNGs, as `digest_of_tree` finds it.
    """
    final = out / "Annotations" / clip.name
    new, old = (final.with_name(f".{clip.name}.{what}.tmp") for what in ("new", "old"))
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    digest = hashlib.blake2b(digest_size=16)
    try:
        for name, data in pictures(clip, prediction):
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            digest.update(data)
        if final.exists():
            final.rename(old)
        new.rename(final)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
    return digest.hexdigest()


def digest_of_tree(out: Path, clip: Clip) -> str | None:
    """Digest of the PNGs that lie under `Annotations/CLIP`, None where one is missing or there are others."""
    folder = out / "Annotations" / clip.name
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
    for name, value in step.settings.items():
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
