"""Runs a recipe: checks everything, takes the clips through it in parallel, and publishes the results.

    run_ensemble.py stage2                                       a recipe by name, on rendered clips
    run_ensemble.py stage2 steps.final.threshold=4 out=runs/four any key of the recipe, and a folder for the results
    run_ensemble.py mine.yaml data=ref_youtube_vos data.root=DIR a recipe of your own, on a data set
    run_ensemble.py stage2 predictions=DIR                       masks that models have written: DIR/SOURCE/...

The same command resumes an interrupted run and reuses what has not changed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import atomic_write
from rvos_ensemble.ensemble import report
from rvos_ensemble.ensemble.engine.clips import Listed, check, list_clips
from rvos_ensemble.ensemble.engine.failures import print_some
from rvos_ensemble.ensemble.engine.progress_bar import tracked
from rvos_ensemble.ensemble.engine.storage import results
from rvos_ensemble.ensemble.engine.storage.folders import owned, private, remove
from rvos_ensemble.ensemble.engine.storage.results import Place
from rvos_ensemble.ensemble.engine.storage.stores import in_use
from rvos_ensemble.ensemble.engine.workers.built import built
from rvos_ensemble.ensemble.engine.workers.workers import spread
from rvos_ensemble.ensemble.recipe.recipe import Recipe, load
from rvos_ensemble.ensemble.recipe.rendered import rendered_notes
from rvos_ensemble.ensemble.report.clip_results import reusable, run_clip
from rvos_ensemble.ensemble.report.publication import publish
from rvos_ensemble.ensemble.report.record import ClipRecord, missing_masks


def run(arguments: Sequence[str]) -> int:
    """Runs the recipe that the arguments describe; see `run_recipe`."""
    return run_recipe(load(arguments), arguments)


def run_recipe(recipe: Recipe, arguments: Sequence[str] | None = None) -> int:
    """Runs a recipe; an interrupted run is resumed.

    Clips that have not changed since an earlier run are neither checked nor computed again. Published results stay
    until the results that replace them are complete.

    Args:
        recipe: the recipe.
        arguments: of the command line, for commands that are suggested; None where there is none.

    Returns:
        The exit code: 0 when every clip succeeded, 1 when some failed (a rerun resumes).

    Raises:
        InputError: nothing can be computed; the inputs are wrong.
    """
    started = time.perf_counter()
    with owned(recipe.out, "run"), private(recipe.out / results.PENDING) as pending:
        results.recover(recipe.out, pending)
        try:
            listed = list_clips(recipe)
            reused = _reusable(recipe, pending, listed.clips)
            checked = check(recipe, [c for c in listed.clips if c.name not in reused])
            problems = {**listed.bad, **checked.problems}
            if len(problems) == len(listed.clips) + len(listed.bad):
                raise InputError(list(dict.fromkeys(p for lines in problems.values() for p in lines)))
            with in_use(recipe.store):
                return _run(recipe, pending, listed, reused, problems, started, arguments)
        finally:
            results.tidy(pending)


def _run(
    recipe: Recipe,
    pending: Path,
    listed: Listed,
    reused: Mapping[str, tuple[ClipRecord, Place]],
    problems: Mapping[str, list[str]],
    started: float,
    arguments: Sequence[str] | None,
) -> int:
    results.prepare(pending)
    for note in rendered_notes(recipe):
        print(f"note: {note}", file=sys.stderr)
    if problems:
        print(f"{len(problems)} of {len(listed.clips) + len(listed.bad)} clips cannot be computed:", file=sys.stderr)
        print_some(list(dict.fromkeys(p for lines in problems.values() for p in lines)))
    records = {name: record for name, (record, _) in reused.items()}
    records |= {n: ClipRecord(n, "failed", "\n".join(p)) for n, p in problems.items()}
    remove(recipe.out / "errors")
    if left := [c for c in listed.clips if c.name not in records]:
        records |= _run_clips(recipe, pending, left)
    failed = {n: r for n, r in sorted(records.items()) if r.status == "failed"}
    if failed:
        print(f"\n{len(failed)} clips failed; correct the input and run the same command again:", file=sys.stderr)
        print_some([f"  {n}: {r.error}" for n, r in failed.items()])
        if traced := [n for n, r in failed.items() if r.trace]:
            name = traced[0] if len(traced) == 1 else "CLIP"
            print(f"traceback: {recipe.out / 'errors' / name}.txt", file=sys.stderr)
    for line in missing_masks(records.values(), recipe.sources):
        print(f"note: {line}", file=sys.stderr)
    done = [c for c in listed.clips if c.name not in failed]
    fresh = [c.name for c in done if c.name not in reused or reused[c.name][1].pending]
    seconds = time.perf_counter() - started
    try:
        table = publish(recipe, pending, done, records, fresh, seconds, arguments)
    except OSError as e:  # most likely a full disk; every finished clip is kept
        print(f"error: results could not be written: {e}", file=sys.stderr)
        return 1
    print(table)
    if said := report.explanations(recipe, done, records):
        print(said)
    print(last_line(recipe, records, seconds))
    return 1 if failed else 0


def _reusable(recipe: Recipe, pending: Path, clips: Sequence[Clip]) -> dict[str, tuple[ClipRecord, Place]]:
    """{clip: its record and place} of results that are still valid; files are read and hashed in parallel."""
    places = [Place(pending, True), Place(recipe.out)]
    with ThreadPoolExecutor(recipe.engine["workers"]) as pool:
        results = pool.map(partial(reusable, recipe, places), clips)
        shown = tracked(results, "earlier results", len(clips), "clip")
        return {clip.name: result for clip, result in zip(clips, shown, strict=True) if result}


def _run_clips(recipe: Recipe, pending: Path, clips: Sequence[Clip]) -> dict[str, ClipRecord]:
    """Runs clips in parallel; {clip: its record}."""
    work = partial(_work, recipe.name, json.dumps([recipe.config]), recipe.uses_gpu, pending)
    return spread(clips, work, ClipRecord, recipe.engine, recipe.name, partial(_keep_trace, recipe.out / "errors"))


def _keep_trace(folder: Path, record: ClipRecord) -> None:
    """Writes the traceback of a failed clip into `errors/CLIP.txt`."""
    if record.trace:
        try:
            atomic_write(folder / f"{record.clip}.txt", record.trace)
        except OSError as e:  # such as a full disk: the reason is still reported
            print(f"note: {e}", file=sys.stderr)


def _work(name: str, configs: str, gpu: bool, pending: Path, clip: Clip) -> ClipRecord:
    return run_clip(built(name, configs, gpu)[0], pending, clip)


def last_line(recipe: Recipe, records: dict[str, ClipRecord], seconds: float) -> str:
    """One line: clips done, reused, failed; frames a second; peak memory; where the results are."""
    count = {s: sum(r.status == s for r in records.values()) for s in ("done", "reused", "failed")}
    frames = sum(r.frames for r in records.values() if r.status == "done")
    peak = max((r.peak_mb for r in records.values()), default=0)
    return (
        f"{count['done']} clips done, {count['reused']} reused, {count['failed']} failed"
        f" | {frames / seconds:.1f} frames/s, {seconds:.1f} s | peak {peak:.0f} MB a process | results: {recipe.out}"
    )
