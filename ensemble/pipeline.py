"""Runs a recipe: checks everything, takes the clips through it side by side, and hands out the results."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

import cv2
import joblib
from omegaconf import OmegaConf
from tqdm import tqdm

from adapters.sequence import Clip, InputError
from ensemble import report, submission
from ensemble.clip_run import ClipRecord, held, load_result, picture_names, pictures, run_clip
from ensemble.folders import clear, locked, shared
from ensemble.gpus import take_gpu
from ensemble.recipe import Recipe
from ensemble.store import atomic_write

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
R = TypeVar("R")
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


def clips_of(recipe: Recipe) -> list[Clip]:
    """All clips of the data set.

    Raises:
        InputError: it cannot be read, or has none.
    """
    recipe.dataset.prepare()
    clips = recipe.dataset.clips()
    if not clips:
        raise InputError(f"data set {recipe.config['data'].get('dataset')}: no clips")
    return clips


def check(recipe: Recipe, clips: Sequence[Clip]) -> Checked:
    """Validates clips and every input of the recipe that belongs to them; computes nothing."""
    problems: dict[str, list[str]] = {}
    for clip in tqdm(clips, desc="checking", unit="clip", leave=False, mininterval=pace()):
        found = clip.problems()
        with contextlib.suppress(InputError):  # a first frame without a size: told already
            for name, adapter in recipe.sources.items() if clip.size else ():
                found += [f"source {name}: {p}" for p in adapter.check([clip])]
            for name, step in recipe.steps.items():
                found += [f"step {name}: {p}" for p in step.problems(clip)]
        if found:
            problems[clip.name] = found
    return Checked(list(clips), problems)


def run(recipe: Recipe) -> int:
    """Runs the recipe, or what is left of it.

    Clips of which nothing has changed since an earlier run are neither checked nor computed again.

    Returns:
        The exit code: 0 when every clip succeeded, 1 when some failed (a rerun resumes).

    Raises:
        InputError: nothing can be computed; the inputs are wrong.
    """
    started = time.perf_counter()
    with contextlib.ExitStack() as locks:
        locks.enter_context(locked(recipe.out))
        clips = clips_of(recipe)
        records = _held(recipe, clips)
        checked = check(recipe, [c for c in clips if c.name not in records])
        if len(checked.problems) == len(clips):
            raise InputError(checked.lines)
        _claim(recipe, clips)
        locks.enter_context(shared(recipe.store))
        for name in recipe.rendered_only():
            print(
                f"note: {recipe.describe_propagator(name)} has seen rendered shapes alone; on real video official "
                f"weights (propagators.{name}.weights=FILE) or optical flow (propagators.{name}.propagator=flow) "
                "are better",
                file=sys.stderr,
            )
        if checked.problems:
            print(f"{len(checked.problems)} of {len(clips)} clips cannot be computed:", file=sys.stderr)
            print_some(checked.lines)
        records |= {n: ClipRecord(n, "failed", "\n".join(p)) for n, p in checked.problems.items()}
        if left := [c for c in clips if c.name not in records]:
            records |= _run_clips(recipe, left)
        failed = {n: r for n, r in sorted(records.items()) if r.status == "failed"}
        if failed:
            print(f"\n{len(failed)} clips failed; mend the input and run the same command again:", file=sys.stderr)
            print_some([f"  {n}: {r.error}" for n, r in failed.items()])
        try:
            _hand_out(recipe, clips, records, list(failed), time.perf_counter() - started)
        except OSError as e:  # a full disk, most likely; every clip that was done is kept
            print(f"error: results could not be written: {e}", file=sys.stderr)
            return 1
        return 1 if failed else 0


def _held(recipe: Recipe, clips: Sequence[Clip]) -> dict[str, ClipRecord]:
    """What an earlier run has done and still holds, {clip: record}: files are read and hashed, side by side."""
    with ThreadPoolExecutor(recipe.engine["workers"]) as pool:
        looked = pool.map(partial(held, recipe), clips)
        found = tqdm(looked, "what is done", len(clips), leave=False, unit="clip", mininterval=pace())
        return {record.clip: record for record in found if record}


def _run_clips(recipe: Recipe, clips: Sequence[Clip]) -> dict[str, ClipRecord]:
    """All clips through the recipe, side by side; {clip: what became of it}."""
    work = partial(_work, recipe.name, json.dumps(recipe.config), recipe.gpus)
    return spread(clips, work, ClipRecord, recipe.engine, recipe.name)


def spread(
    clips: Sequence[Clip], work: Callable[[Clip], R], record: Callable[..., R], engine: Mapping, title: str
) -> dict[str, R]:
    """All clips through `work`, side by side, with a progress bar; {clip: what became of it}.

    Args:
        clips: at least one.
        work: what to do with a clip, in a process of its own; its result has `clip`, `frames` and `status`.
        record: makes that result, from (clip, "failed", reason), for a clip whose process died.
        engine: see `recipe_files.ENGINE`.
        title: of the progress bar.
    """
    workers = min(engine["workers"], len(clips))
    backend = "sequential" if workers == 1 and engine["backend"] == "loky" else engine["backend"]
    records: dict[str, R] = {}
    with (
        _backend(backend, workers),
        tqdm(total=sum(len(c) for c in clips), desc=title, unit="frame", mininterval=pace()) as bar,
    ):
        as_they_come = "list" if backend == "ray" else "generator_unordered"  # Ray's backend knows no generators
        jobs = (joblib.delayed(work)(c) for c in clips)
        try:
            for done in joblib.Parallel(n_jobs=workers, return_as=as_they_come, batch_size=1)(jobs):
                records[done.clip] = done
                bar.update(done.frames)
                failed = sum(r.status == "failed" for r in records.values())
                bar.set_postfix_str(f"{len(records)}/{len(clips)} clips" + (f", {failed} failed" if failed else ""))
        except BrokenProcessPool:
            died = "a worker process died, most likely for want of memory; try fewer engine.workers, then run again"
            return {c.name: records.get(c.name) or record(c.name, "failed", died) for c in clips}
    return records


@contextlib.contextmanager
def _backend(name: str, workers: int) -> Iterator[None]:
    """Makes a joblib backend the one in force; Dask and Ray are installed by those who have a cluster."""
    with contextlib.ExitStack() as stack:
        try:
            if name == "ray":
                from ray.util.joblib import register_ray

                register_ray()
            if name == "dask":  # the cluster of DASK_SCHEDULER_ADDRESS, else processes of this machine
                from dask.distributed import Client

                here = {} if "DASK_SCHEDULER_ADDRESS" in os.environ else {"n_workers": workers, "threads_per_worker": 1}
                stack.enter_context(Client(**here))
            stack.enter_context(joblib.parallel_config(backend=name))
        except ImportError as e:
            raise InputError(f"engine.backend is {name!r}: {e}; pip install 'rvos-ensemble[{name}]'") from None
        yield


def _work(name: str, config: str, gpus: int, clip: Clip) -> ClipRecord:
    cv2.setNumThreads(1)  # clips are the unit of parallel work
    return run_clip(_built(name, config, gpus), clip)


@lru_cache(maxsize=4)
def _built(name: str, config: str, gpus: int) -> Recipe:
    """The recipe in a worker: models are loaded once a process, on a GPU of its own where models use GPUs."""
    if gpus:
        take_gpu(gpus)
    return Recipe.build(name, json.loads(config))


def _hand_out(
    recipe: Recipe, clips: Sequence[Clip], records: dict[str, ClipRecord], failed: Sequence[str], seconds: float
) -> None:
    """Writes what belongs to the run as a whole, prints the table and the last line."""
    for name in failed:  # what an earlier run left of it is not this run's result
        shutil.rmtree(recipe.out / "Annotations" / name, ignore_errors=True)
        shutil.rmtree(recipe.out / "overlays" / name, ignore_errors=True)
        for file in (f"clips/{name}.json", f"clips/{name}.npz", f"report/{name}.js"):
            (recipe.out / file).unlink(missing_ok=True)
    archive = recipe.out / "submission.zip"
    if recipe.config["submission"] and not failed:
        submission.write(archive, clips, recipe.dataset.zip_root, (_pngs(recipe, c, records[c.name]) for c in clips))
    done = [records[c.name] for c in clips if c.name not in failed]
    table = report.write_metrics(recipe, clips, done)
    atomic_write(recipe.out / "manifest.json", json.dumps(manifest(recipe, records, seconds), indent=1))
    if recipe.config["report"]:
        report.write_page(recipe, [c for c in clips if c.name not in failed], done)
    print(table)
    print(last_line(recipe, records, seconds))


def _pngs(recipe: Recipe, clip: Clip, record: ClipRecord) -> Iterator[bytes]:
    """The PNGs of a clip, from the tree, or from the store where no tree is written."""
    if recipe.config["annotations"]:
        folder = recipe.out / "Annotations" / clip.name
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
        "clips": {n: {k: v for k, v in asdict(records[n]).items() if k != "scores"} for n in sorted(records)},
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


def _claim(recipe: Recipe, clips: Sequence[Clip]) -> None:
    """Makes the folder this run's: its own recipe, no leftovers of a killed run, no clips of other data."""
    out = recipe.out
    if not (out / "config.yaml").exists() and any(p.name != ".lock" for p in out.iterdir()):
        raise InputError(f"{out}: not empty, and not the folder of an earlier run (no config.yaml); give out=DIR")
    clear(out, "*/", "overlays/*/")
    for name in ("submission.zip", "metrics.csv", "metrics.json", "report.html", "manifest.json"):
        (out / name).unlink(missing_ok=True)  # of the run before; this one writes its own at the end
    for folder, wanted in (("Annotations", "annotations"), ("overlays", "overlays"), ("report", "report")):
        if not recipe.config[wanted]:
            shutil.rmtree(out / folder, ignore_errors=True)
    names = {c.name for c in clips}
    for folder in ("Annotations", "clips", "overlays", "report"):
        for old in (out / folder).glob("*"):
            if (old.name if old.is_dir() else old.stem) not in names:
                shutil.rmtree(old) if old.is_dir() else old.unlink()
    atomic_write(out / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(recipe.config)))


def pace() -> float:
    """Seconds between two updates of a progress bar: a log file wants fewer lines than a terminal."""
    return 0.1 if sys.stderr.isatty() else 30.0


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
