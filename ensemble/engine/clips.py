"""The clips of a data set, and everything that can be found wrong with them before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import BadClips, Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.core.no_pictures import NoPictures
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.ensemble.engine.failures import message_of
from rvos_ensemble.ensemble.engine.progress_bar import tracked
from rvos_ensemble.ensemble.recipe.config.mask_folder import absent_masks, foreign_masks
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.recipe.shard import part_of
from rvos_ensemble.ensemble.steps.step import Step
from rvos_ensemble.propagators.core.propagator import Propagator


@dataclass(frozen=True)
class Listed:
    """The clips of a data set.

    Attributes:
        clips: those that can be read.
        bad: {clip: its problems}, of those that cannot even be listed.
    """

    clips: list[Clip]
    bad: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Checked:
    """The outcome of `check`.

    Attributes:
        clips: those that were checked.
        problems: {clip: what is wrong with its frames, annotations or mask files}.
    """

    clips: list[Clip]
    problems: dict[str, list[str]]

    @property
    def lines(self) -> list[str]:
        """All problems, each once."""
        return list(dict.fromkeys(p for problems in self.problems.values() for p in problems))


def list_clips(recipe: Recipe) -> Listed:
    """All clips of the recipe's data set, or those of its shard.

    Raises:
        InputError: it cannot be read, or has no clip that can; or masks of a source do not exist, or are of others.
    """
    if wrong := absent_masks(recipe.sources) or foreign_masks(recipe.sources, recipe.dataset):
        raise InputError(wrong)
    try:
        recipe.dataset.prepare()
        listed = Listed(recipe.dataset.clips())
    except BadClips as error:
        if not error.clips:
            raise
        listed = Listed(error.clips, error.bad)
    if not listed.clips:
        raise InputError(f"data set {recipe.config['data'].get('dataset')}: no clips")
    shard = recipe.config["shard"]
    clips = part_of(listed.clips, shard)
    if not clips:
        raise InputError(
            f"shard={shard}: no clip is left for it, because there are {len(listed.clips)}; use fewer shards"
        )
    bad = listed.bad if shard is None or shard.startswith("1/") else {}  # reported once
    return Listed([_with_size(recipe, clip) for clip in clips], bad)


def check(recipe: Recipe, clips: Sequence[Clip], whole: bool = False) -> Checked:
    """Validates clips and every input of the recipe that belongs to them; computes nothing.

    Args:
        recipe: the recipe.
        clips: the clips.
        whole: every mask and picture is read, not only names and headers.
    """
    problems: dict[str, list[str]] = {}
    with ThreadPoolExecutor(recipe.engine["workers"] if whole else 1) as pool:
        results = pool.map(partial(_problems, recipe, whole=whole), clips)
        for clip, found in tracked(zip(clips, results, strict=True), "checking", len(clips), "clip"):
            if found:
                problems[clip.name] = found
    for name, step in recipe.steps.items():
        for clip, lines in _data_problems(step, clips).items():
            problems.setdefault(clip, []).extend(f"step {name}: {line}" for line in lines)
    return Checked(list(clips), problems)


def inspect(recipe: Recipe, clip: Clip) -> list[str]:
    """Everything that is wrong with the content of a clip and of the recipe's mask files; all of it is read."""
    problems: list[str] = []
    adapters = ((f"source {n}: ", partial(a.inspect, clip), a.file) for n, a in recipe.sources.items())
    for where, read, file in [("", clip.inspect, None), *adapters]:
        try:
            problems += [f"{where}{p}" for p in read()]
        except Exception as error:  # of an adapter of the user's
            problems.append(f"{where}{message_of(error, file=file)}")
    return problems


def _problems(recipe: Recipe, clip: Clip, whole: bool) -> list[str]:
    """What is wrong with a clip and its inputs. Any error raised here fails this clip only, not the run.

    Where names and headers already show a fault, all masks are read as well, so that all faults are reported together.
    """
    problems: list[str] = []

    def attempt(where: str, look: Callable[[], list[str]], file: Path | None = None) -> None:
        try:
            lines = [str(p) for p in look()]
        except Exception as error:
            lines = error.problems if isinstance(error, InputError) else [message_of(error, file=file)]
        problems.extend(line if line.startswith(where) else f"{where}{line}" for line in lines)

    attempt("", clip.problems)
    attempt("", lambda: _picture_problems(recipe, clip))
    if whole or problems:
        attempt("", clip.inspect)
    try:
        sized = bool(clip.size)
    except (InputError, OSError):  # a first frame without a size: reported already
        return problems
    for name, adapter in recipe.sources.items() if sized else ():
        before = len(problems)
        attempt(f"source {name}: ", partial(adapter.check, [clip]), adapter.file)
        if whole or len(problems) > before:
            attempt(f"source {name}: ", partial(adapter.inspect, clip), adapter.file)
    for name, step in recipe.steps.items():
        attempt(f"step {name}: ", partial(step.problems, clip), step.file)
    attempt("", lambda: input_problems(recipe.sources, recipe.steps, clip, recipe.propagators))
    return list(dict.fromkeys(problems))


def _with_size(recipe: Recipe, clip: Clip) -> Clip:
    """The clip; without pictures and annotations, it has the size of the first masks on disk that state theirs."""
    pictures = clip.images
    if not isinstance(pictures, NoPictures) or pictures.mask or pictures.known:
        return clip
    sizes = (adapter.size(clip.name) for adapter in recipe.sources.values())
    return replace(clip, images=replace(pictures, known=next((size for size in sizes if size), None)))


def _picture_problems(recipe: Recipe, clip: Clip) -> list[str]:
    """What reads pictures, if the data set has none."""
    if not isinstance(clip.images, NoPictures):
        return []
    readers = [f"source {name}" for name, adapter in recipe.sources.items() if adapter.reads_pictures]
    readers += [f"step {name}" for name, step in recipe.steps.items() if step.reads_pictures]
    readers += ["overlays"] if recipe.config["overlays"] else []
    return [f"{clip.images.absence}, which {first_few(readers)} would read"] if readers else []


def _data_problems(step: Step, clips: Sequence[Clip]) -> dict[str, list[str]]:
    """What the step finds wrong with the clips as a whole; if it fails, every clip has that problem."""
    try:
        return step.data_problems(clips)
    except Exception as error:  # of a step of the user's
        lines = error.problems if isinstance(error, InputError) else [message_of(error, file=step.file)]
        return {clip.name: lines for clip in clips}


def input_problems(
    sources: Mapping[str, Adapter],
    steps: Mapping[str, Step],
    clip: Clip,
    propagators: Mapping[str, Propagator] | None = None,
) -> list[str]:
    """What steps will refuse of their inputs, one sentence each; no mask is computed or read.

    Args:
        sources: of the recipe.
        steps: of the recipe, in an order in which they can be computed.
        clip: with a size.
        propagators: of the recipe; without them, it is unknown which signals propagated masks state.
    """
    known = _Known({name: partial(adapter.traits, clip) for name, adapter in sources.items()})

    def traits(step: Step) -> Traits:
        of, by = step.traits(known), (propagators or {}).get(step.propagator)
        return of if by is None else replace(of, signals=tuple(sorted(by.signals)))

    known.makers |= {name: partial(traits, step) for name, step in steps.items()}
    return [f"step {name}: {problem}" for name, step in steps.items() for problem in step.input_problems(clip, known)]


class _Known(dict[str, Traits]):
    """{source or step: what is known of its masks}, computed on first access."""

    def __init__(self, makers: dict[str, Callable[[], Traits]]):
        self.makers = makers

    def __missing__(self, name: str) -> Traits:
        self[name] = self.makers[name]()
        return self[name]
