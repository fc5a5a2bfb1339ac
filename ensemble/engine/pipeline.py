"""Runs a recipe: checks everything, takes the clips through it side by side, and hands out the results."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cv2
from omegaconf import OmegaConf
from tqdm import tqdm

from rvos_ensemble.adapters.core.clip import BadClips, Clip
from rvos_ensemble.adapters.core.disk import atomic_write
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble import report
from rvos_ensemble.ensemble.engine import foreseen, results
from rvos_ensemble.ensemble.engine.clip_run import (
    ClipRecord,
    held,
    load_result,
    message_of,
    picture_names,
    pictures,
    run_clip,
)
from rvos_ensemble.ensemble.engine.folders import owned, private, remove, shared
from rvos_ensemble.ensemble.engine.gpus import take_gpu
from rvos_ensemble.ensemble.engine.results import Place
from rvos_ensemble.ensemble.engine.workers import pace, spread
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.report import submission

PACKAGES = (
    "numpy",
    "opencv-python",
    "torch",
    "transformers",
    "tokenizers",
    "joblib",
    "omegaconf",
    "pillow",
    "zlib-ng",
    "pycocotools",
    "pandas",
)
SHOWN = 10  # problems or failures printed before "and N more"


@dataclass(frozen=True)
class Checked:
    """What `check` found.

    Attributes:
        clips: those that were checked.
        problems: {clip: what is wrong with its frames, annotations or mask files}.
    """

    clips: list[Clip]
    problems: dict[str, list[str]]

    @property
    def lines(self) -> list[str]:
        return list(dict.fromkeys(p for found in self.problems.values() for p in found))


@dataclass(frozen=True)
class Listed:
    """The clips of a data set.

    Attributes:
        clips: those that can be read.
        bad: {clip: what is wrong with it}, of those that cannot even be listed.
    """

    clips: list[Clip]
    bad: dict[str, list[str]] = field(default_factory=dict)


def clips_of(recipe: Recipe) -> Listed:
    """All clips of the data set.

    Raises:
        InputError: it cannot be read, or has none that can.
    """
    try:
        recipe.dataset.prepare()
        listed = Listed(recipe.dataset.clips())
    except BadClips as error:
        if not error.clips:
            raise
        listed = Listed(error.clips, error.bad)
    if not listed.clips:
        raise InputError(f"data set {recipe.config['data'].get('dataset')}: no clips")
    return listed


def check(recipe: Recipe, clips: Sequence[Clip], whole: bool = False) -> Checked:
    """Validates clips and every input of the recipe that belongs to them; computes nothing.

    Args:
        recipe, clips: what is to be done, and with what.
        whole: every mask and picture is read, not only names and headers.
    """
    problems: dict[str, list[str]] = {}
    look = partial(_problems, recipe, whole=whole)
    with ThreadPoolExecutor(recipe.engine["workers"] if whole else 1) as pool:
        looked = pool.map(look, clips)
        for clip, found in tqdm(
            zip(clips, looked, strict=True), "checking", len(clips), leave=False, unit="clip", mininterval=pace()
        ):
            if found:
                problems[clip.name] = found
    return Checked(list(clips), problems)


def _problems(recipe: Recipe, clip: Clip, whole: bool) -> list[str]:
    """What is wrong with a clip and its inputs. Any error found here fails this clip only, not the run.

    Where names and headers already show a fault, all masks are read as well, so that all faults are reported together.
    """
    found: list[str] = []

    def attempt(where: str, look: Callable[[], list[str]]) -> None:
        try:
            told = [str(p) for p in look()]
        except Exception as e:
            told = e.problems if isinstance(e, InputError) else [message_of(e)]
        found.extend(p if p.startswith(where) else f"{where}{p}" for p in told)

    attempt("", clip.problems)
    if whole or found:
        attempt("", clip.inspect)
    try:
        sized = bool(clip.size)
    except (InputError, OSError):  # a first frame without a size: told already
        return found
    for name, adapter in recipe.sources.items() if sized else ():
        before = len(found)
        attempt(f"source {name}: ", lambda adapter=adapter: adapter.check([clip]))
        if whole or len(found) > before:
            attempt(f"source {name}: ", lambda adapter=adapter: adapter.inspect(clip))
    for name, step in recipe.steps.items():
        attempt(f"step {name}: ", lambda step=step: step.problems(clip))
    attempt("", lambda: foreseen.input_problems(recipe.sources, recipe.steps, clip))
    return list(dict.fromkeys(found))


def run(recipe: Recipe) -> int:
    """Runs the recipe, or what is left of it.

    Clips that have not changed since an earlier run are neither checked nor computed again. Published results stay
    until the results that replace them are complete.

    Returns:
        The exit code: 0 when every clip succeeded, 1 when some failed (a rerun resumes).

    Raises:
        InputError: nothing can be computed; the inputs are wrong.
    """
    started = time.perf_counter()
    with owned(recipe.out, "run"), private(recipe.out / results.PENDING) as pending:
        results.recover(recipe.out, pending)
        try:
            listed = clips_of(recipe)
            found = _held(recipe, pending, listed.clips)
            checked = check(recipe, [c for c in listed.clips if c.name not in found])
            problems = {**listed.bad, **checked.problems}
            if len(problems) == len(listed.clips) + len(listed.bad):
                raise InputError(list(dict.fromkeys(p for told in problems.values() for p in told)))
            with shared(recipe.store):
                return _run(recipe, pending, listed, found, problems, started)
        finally:
            results.tidy(pending)


def _run(
    recipe: Recipe,
    pending: Path,
    listed: Listed,
    found: Mapping[str, tuple[ClipRecord, Place]],
    problems: Mapping[str, list[str]],
    started: float,
) -> int:
    results.prepare(pending)
    for name in recipe.rendered_only():
        print(
            f"note: {recipe.describe_propagator(name)} has seen rendered shapes alone; on real video official "
            f"weights (propagators.{name}.weights=FILE) or optical flow (propagators.{name}.propagator=flow) "
            "are better",
            file=sys.stderr,
        )
    if problems:
        print(f"{len(problems)} of {len(listed.clips) + len(listed.bad)} clips cannot be computed:", file=sys.stderr)
        print_some(list(dict.fromkeys(p for told in problems.values() for p in told)))
    records = {name: record for name, (record, _) in found.items()}
    records |= {n: ClipRecord(n, "failed", "\n".join(p)) for n, p in problems.items()}
    remove(recipe.out / "errors")
    if left := [c for c in listed.clips if c.name not in records]:
        records |= _run_clips(recipe, pending, left)
    failed = {n: r for n, r in sorted(records.items()) if r.status == "failed"}
    if failed:
        print(f"\n{len(failed)} clips failed; mend the input and run the same command again:", file=sys.stderr)
        print_some([f"  {n}: {r.error}" for n, r in failed.items()])
    done = [c for c in listed.clips if c.name not in failed]
    fresh = [c.name for c in done if c.name not in found or found[c.name][1].pending]
    seconds = time.perf_counter() - started
    try:
        table = _hand_out(recipe, pending, done, records, fresh, seconds)
    except OSError as e:  # a full disk, most likely; every clip that was done is kept
        print(f"error: results could not be written: {e}", file=sys.stderr)
        return 1
    print(table)
    print(last_line(recipe, records, seconds))
    return 1 if failed else 0


def _held(recipe: Recipe, pending: Path, clips: Sequence[Clip]) -> dict[str, tuple[ClipRecord, Place]]:
    """What an earlier run has done and still holds: files are read and hashed, side by side."""
    places = [Place(pending, True), Place(recipe.out)]
    with ThreadPoolExecutor(recipe.engine["workers"]) as pool:
        looked = pool.map(partial(held, recipe, places), clips)
        found = tqdm(looked, "what is done", len(clips), leave=False, unit="clip", mininterval=pace())
        return {clip.name: held for clip, held in zip(clips, found, strict=True) if held}


def _run_clips(recipe: Recipe, pending: Path, clips: Sequence[Clip]) -> dict[str, ClipRecord]:
    """All clips through the recipe, side by side; {clip: what became of it}."""
    work = partial(_work, recipe.name, json.dumps(recipe.config), recipe.gpus, pending)
    return spread(clips, work, ClipRecord, recipe.engine, recipe.name, partial(_keep_trace, recipe.out / "errors"))


def _keep_trace(folder: Path, record: ClipRecord) -> None:
    """Keeps where an error came from, `errors/CLIP.txt`."""
    if record.trace:
        try:
            atomic_write(folder / f"{record.clip}.txt", record.trace)
        except OSError as e:  # a full disk: the reason is still reported
            print(f"note: {e}", file=sys.stderr)


def _work(name: str, config: str, gpus: int, pending: Path, clip: Clip) -> ClipRecord:
    cv2.setNumThreads(1)  # clips are the unit of parallel work
    return run_clip(_built(name, config, gpus), pending, clip)


@lru_cache(maxsize=4)
def _built(name: str, config: str, gpus: int) -> Recipe:
    """The recipe in a worker: models are loaded once a process, on a GPU of its own where models use GPUs."""
    if gpus:
        take_gpu(gpus)
    return Recipe.build(name, json.loads(config))


def _hand_out(
    recipe: Recipe,
    pending: Path,
    done: Sequence[Clip],
    records: dict[str, ClipRecord],
    fresh: Sequence[str],
    seconds: float,
) -> str:
    """Writes what belongs to the run as a whole, and publishes all of it.

    Where clips failed, complete results of an earlier run stay; what is done of this one waits for the rest.

    Returns:
        What is to be printed.
    """
    out, top = recipe.out, pending / "top"
    complete = len(done) == len(records)
    places = {c.name: Place(pending, True) if c.name in fresh else Place(out) for c in done}
    table = report.write_metrics(recipe, top, done, [records[c.name] for c in done])
    if not complete and results.are_complete(out):
        return (
            f"{table}\n\nNot all clips are done, so {out} still holds the results of the run before, of the settings "
            "in its config.yaml; the finished clips of this run are kept, and the same command resumes it"
        )
    if complete and recipe.config["submission"]:
        pngs = (_pngs(recipe, c, records[c.name], places[c.name]) for c in done)
        submission.write(top / results.ZIP, done, recipe.dataset.zip_root, pngs)
    atomic_write(top / "manifest.json", json.dumps(manifest(recipe, records, seconds), indent=1))
    atomic_write(top / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(recipe.config)))
    if recipe.config["report"]:
        report.write_page(recipe, top, done, [records[c.name] for c in done], places)
    keep = ["clips", *(f for f in ("Annotations", "overlays", "report") if recipe.config[f.lower()])]
    results.publish(out, pending, fresh, [c.name for c in done], keep)
    return table


def _pngs(recipe: Recipe, clip: Clip, record: ClipRecord, place: Place) -> Iterator[bytes]:
    """The PNGs of a clip, from the tree, or from the store where no tree is written."""
    if recipe.config["annotations"]:
        folder = place.path(clip.name, "Annotations")
        return ((folder / name).read_bytes() for name in picture_names(clip))
    prediction = load_result(recipe, clip, recipe.output, record.keys[recipe.output])
    if prediction is None:  # lost since this run looked
        raise InputError(
            f"{recipe.store}: the masks of clip {clip.name} are gone or damaged; run the same command again"
        )
    return (data for _, data in pictures(clip, prediction))


def manifest(recipe: Recipe, records: dict[str, ClipRecord], seconds: float) -> dict:
    """What was run, from what, on what, and how long it took."""
    return {
        "recipe": recipe.name,
        "output": recipe.output,
        "seconds": round(seconds, 3),
        "peak_mb": round(max((r.peak_mb for r in records.values()), default=0), 1),
        "python": platform.python_version(),
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
        "packages": {p: _version(p) for p in ("rvos-ensemble", *PACKAGES)},
        "propagators": {n: recipe.describe_propagator(n) for n in recipe.propagators},
        "config": recipe.config,
        "clips": {
            n: {k: v for k, v in asdict(records[n]).items() if k not in ("scores", "trace")} for n in sorted(records)
        },
    }


def last_line(recipe: Recipe, records: dict[str, ClipRecord], seconds: float) -> str:
    """One line: clips done, reused, failed; frames a second; peak memory; where the results are."""
    count = {s: sum(r.status == s for r in records.values()) for s in ("done", "reused", "failed")}
    frames = sum(r.frames for r in records.values() if r.status == "done")
    peak = max((r.peak_mb for r in records.values()), default=0)
    return (
        f"{count['done']} clips done, {count['reused']} reused, {count['failed']} failed"
        f" | {frames / seconds:.1f} frames/s, {seconds:.1f} s | peak {peak:.0f} MB a process | results: {recipe.out}"
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def print_some(lines: Sequence[str]) -> None:
    """The first few lines, for problems of which there may be thousands."""
    for line in lines[:SHOWN]:
        print(line, file=sys.stderr)
    if len(lines) > SHOWN:
        print(f"and {len(lines) - SHOWN} more", file=sys.stderr)
