"""What a run left in its folder, as tables and arrays; everything is read when it is first used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.datasets.meta import natural
from rvos_ensemble.adapters.files.storage import Folder, Zip
from rvos_ensemble.ensemble.report.frame import ANSWERS, COLUMNS

Value = TypeVar("Value")


class LazyMapping(Mapping[str, Value]):
    """A mapping whose values are computed each time they are read.

    Args:
        keys: in order.
        read: key -> value.

    >>> squares = LazyMapping(["2", "3"], lambda key: int(key) ** 2)
    >>> squares["3"], list(squares), squares
    (9, ['2', '3'], LazyMapping(2, 3))
    """

    def __init__(self, keys: Sequence[str], read: Callable[[str], Value]):
        self._keys, self._read = dict.fromkeys(keys), read

    def __getitem__(self, key: str) -> Value:
        if key not in self._keys:
            raise KeyError(key)
        return self._read(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"LazyMapping({', '.join(self)})"


class RunResult:
    """The result of a run, read from its folder; also of a run that the command line made: `RunResult("runs/stage2")`.

    Attributes:
        out: folder of the run.
        log: what the run would have printed, line by line; empty for `verbose=True` and for runs made earlier.

    Raises:
        InputError: the folder contains no results of a run.
    """

    def __init__(self, out: str | os.PathLike, log: Sequence[str] = ()):
        self.out, self.log = user_path(out), list(log)
        if not (self.out / "manifest.json").is_file():
            raise InputError(f"{self.out}: no manifest.json in it, so these are not the results of a run")

    def __repr__(self) -> str:
        return f"RunResult({str(self.out)!r}: {len(self.manifest['clips'])} clips, {len(self.failures)} failed)"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The content of manifest.json: the resolved recipe, versions, seconds, and a record of every clip."""
        return read_json(self.out / "manifest.json")

    @property
    def output(self) -> str:
        """Name of the step or source whose masks are the result."""
        return self.manifest["output"]

    @property
    def failures(self) -> dict[str, str]:
        """{clip: why it failed}; empty when every clip succeeded."""
        return {n: r["error"] for n, r in self.manifest["clips"].items() if r["status"] == "failed"}

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per clip, expression and step: clip, expression, text, step, J, F, J&F in 0..1.

        If any expression refers to nothing, also `no_target`, and `empty`: whether all predicted masks are; NA where
        the ground truth does not state it. Empty where the data set has no ground truth.
        """
        file = self.out / "metrics.csv"
        if not file.is_file():
            return pd.DataFrame(columns=[*COLUMNS])
        table = pd.read_csv(file, dtype=str, keep_default_na=False)  # numbers parsed here: to the last bit
        table = table.astype({"J": float, "F": float, "J&F": float})
        answers = [name for name in ANSWERS if name in table]
        table[answers] = table[answers].replace({"True": True, "False": False, "": pd.NA}).astype("boolean")
        return table

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """J, F and J&F of every source and step, the means over expressions; the index is the step.

        If any expression refers to nothing, also N-acc, T-acc and Final; if a step is an oracle, also `below oracle`,
        the J&F that each row lacks.
        """
        file = self.out / "metrics.json"
        steps = json.loads(file.read_bytes())["steps"] if file.is_file() else {}
        columns = list(next(iter(steps.values()), ["J", "F", "J&F"]))
        table = pd.DataFrame.from_dict(steps, orient="index", columns=columns, dtype=float)
        return table.rename_axis("step")

    @property
    def masks(self) -> Mapping[str, Mapping[str, np.ndarray]]:
        """{clip: {expression: bool [T, H, W]}} of the output; a mask file is read when its array is asked for.

        Raises:
            InputError: the run wrote neither `Annotations` nor submission.zip.
        """
        tree, top = self._tree()
        return LazyMapping(tree.entries(top)[0], partial(_clip_masks, tree, top))

    @property
    def annotations(self) -> Path | None:
        """Folder with the masks as PNG, CLIP/EXPRESSION/FRAME.png; None for `annotations=False`."""
        return self._path("Annotations")

    @property
    def submission(self) -> Path | None:
        """The zip for a benchmark's server; None for `submission=False` or when clips failed."""
        return self._path("submission.zip")

    @property
    def report(self) -> Path | None:
        """The page that shows every step and expression; None for `report=False`."""
        return self._path("report.html")

    def _path(self, name: str) -> Path | None:
        path = self.out / name
        return path if path.exists() else None

    def _tree(self) -> tuple[Folder | Zip, str]:
        """Where the masks are: a folder or zip, and the name of the top folder in it, "" for none."""
        if self.annotations:
            return Folder(str(self.out)), "Annotations"
        if self.submission:
            archive = Zip(str(self.submission))
            return archive, "Annotations" if archive.entries("")[0] == ["Annotations"] else ""
        raise InputError(f"{self.out}: no masks in it; run with annotations=True or submission=True")


def _clip_masks(tree: Folder | Zip, top: str, clip: str) -> Mapping[str, np.ndarray]:
    at = f"{top}/{clip}" if top else clip
    return LazyMapping(sorted(tree.entries(at)[0], key=natural), lambda e: _sequence(tree, f"{at}/{e}"))


def _sequence(tree: Folder | Zip, at: str) -> np.ndarray:
    """The masks of one expression, bool [T, H, W], in the natural order of the frames' names."""
    names = sorted(tree.entries(at)[1], key=natural)
    files = [f"{at}/{name}" for name in names]
    return np.stack([png.decode(tree.read(file), tree.where(file)).labels > 0 for file in files])
