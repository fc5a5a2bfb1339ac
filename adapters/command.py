"""Any model that a command runs: another repository, in an environment of its own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.io.hashing import path_hash
from rvos_ensemble.adapters.core.io.lifetime import run_command
from rvos_ensemble.adapters.core.masks import MaskSequence, PackedMasks
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import listed, number, path, switch, table, text, texts
from rvos_ensemble.adapters.files import Files

PLACEHOLDERS = ("{frames}", "{expressions}", "{out}")
TAIL = 4000  # bytes of a failed command's output that are kept
LINES = 6  # of them, how many lines the message shows


class CommandFailed(RuntimeError):
    """The end of what a failed command printed."""


class Command(Adapter):
    """Runs a command once per clip, and reads the masks that it wrote.

    Settings:
        command: the command line, or a list of its words. No shell runs it. It contains
            {frames}: folder with the frames of the clip, `FRAME.jpg` or `.png`, in order of their names,
            {expressions}: json file in the layout of Ref-YouTube-VOS's `meta_expressions.json`,
                {"videos": {VIDEO: {"frames": [FRAME, ...], "expressions": {ID: {"exp": text}}}}},
            {out}: an empty folder, into which the command writes `[Annotations/]VIDEO/ID/FRAME.png`, or any other
                format that the adapter `files` reads; and scores per frame, if it has some, as `scores.json`,
                {VIDEO: {ID: [score per frame]}}.
        folder: working folder of the command; by default the one of this process.
        environment: {variable: value} over the variables of this process; null removes one.
        timeout: seconds that the command may take for a clip.
        files: files and folders that the result depends on, such as code and weights: when one changes, results are
            computed again.
        masks: file or folder in {out} that holds the masks; by default {out} itself.
        kind, objects: as those of the adapter `files`.
        gpu: whether the command uses a GPU. Then one clip per GPU runs at a time, and CUDA_VISIBLE_DEVICES names the
            GPU of the clip, unless `environment` does.
    """

    defaults = {
        "command": texts(what="a command line, or a list of its words"),
        "folder": path(None),
        "environment": table({}),
        "timeout": number(3600.0, above=0, most=1e7),
        "files": listed(path(), [], what="a list of files and folders"),
        "masks": text("."),
        "kind": Files.defaults["kind"],
        "objects": Files.defaults["objects"],
        "gpu": switch(False),
    }

    def __init__(self, /, **settings):
        super().__init__(**settings)
        self.timeout = vars(self.settings).pop("timeout")  # no setting that results depend on

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        if "command" in given:
            yield from _command_problems(given["command"])
        for key, value in given.get("environment", {}).items():
            if not (value is None or isinstance(value, (str, int, float))) or not str(key) or "=" in str(key):
                yield f"command: setting `environment` has {key}: {value!r}, expected a text, a number or null"

    def predict(self, clip: Clip) -> Prediction:
        with tempfile.TemporaryDirectory(prefix="rvos_ensemble_command_") as work:
            frames, expressions, out = _write_inputs(clip, Path(work))
            self._run(clip, {"{frames}": str(frames), "{expressions}": str(expressions), "{out}": str(out)})
            try:
                return self._read(clip, out)
            except InputError as error:
                problems = (problem.replace(str(out), "{out}") for problem in error.problems)
                raise InputError(f"clip {clip.name!r}: what the command wrote: {p}" for p in problems) from None

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """A program, working folder or file that does not exist."""
        folder = user_path(self.settings.folder or ".")
        if not os.path.isdir(folder):
            return [f"command: {folder}: no such folder, given as `folder`"]
        program, search = self._words[0], self._environment.get("PATH", os.defpath)
        found = os.access(folder / program, os.X_OK) if "/" in program else shutil.which(program, path=search)
        problems = [] if found else [f"command: {program}: no such program, seen from {os.path.abspath(folder)}"]
        files = map(user_path, self.settings.files)
        return problems + [f"command: {f}: no such file, listed in `files`" for f in files if not os.path.exists(f)]

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the setting `files`."""
        return " ".join(path_hash(user_path(file)) for file in self.settings.files)

    @property
    def uses_gpu(self) -> bool:
        return self.settings.gpu

    @property
    def _words(self) -> list[str]:
        return _words(self.settings.command)

    @property
    def _environment(self) -> dict[str, str]:
        own = _this_gpu() if self.settings.gpu else {}
        changes = {**own, **{str(key): value for key, value in self.settings.environment.items()}}
        return {key: str(value) for key, value in {**os.environ, **changes}.items() if value is not None}

    def _run(self, clip: Clip, places: Mapping[str, str]) -> None:
        """Runs the command.

        Args:
            clip: for messages.
            places: {placeholder: path}.

        Raises:
            InputError: it fails or takes too long; the end of what it printed is part of the message.
        """
        pattern = "|".join(map(re.escape, places))
        words = [re.sub(pattern, lambda match: places[match[0]], word) for word in self._words]
        folder = str(user_path(self.settings.folder)) if self.settings.folder else None
        with tempfile.TemporaryFile() as output:
            code = run_command(words, output, folder, self._environment, self.timeout)
            if code == 0:
                return
            output.seek(max(0, output.tell() - TAIL))
            printed = output.read().decode("utf-8", "replace").strip()
        reason = f"took longer than {self.timeout:g} s (`timeout`)" if code is None else f"failed, {_ending(code)}"
        last = " | ".join(line.strip() for line in printed.splitlines()[-LINES:] if line.strip())
        end = f"; its output ends with: {last}" if last else "; it printed nothing"
        raise InputError(f"clip {clip.name!r}: the command {reason}{end}") from CommandFailed(printed)

    def _read(self, clip: Clip, out: Path) -> Prediction:
        """The masks in a folder, every one of them read, so that the folder can be deleted.

        Raises:
            InputError: naming everything that is missing or wrong.
        """
        if not any(out.iterdir()):
            raise InputError(f"{out}: an empty folder, expected VIDEO/ID/FRAME.png, or another format of masks")
        s, scores = self.settings, out / "scores.json"
        files = Files(
            path=str(out / s.masks),
            kind=s.kind,
            objects=s.objects,
            scores=str(scores) if scores.is_file() else None,
        )
        if problems := [*files.check([clip]), *files.inspect(clip)]:
            raise InputError(dict.fromkeys(problems))
        return {i: _in_memory(sequence) for i, sequence in files.predict(clip).items()}


def _this_gpu() -> dict[str, str]:
    """The variable that makes only the GPU of this worker process visible; nothing without a GPU."""
    import torch  # not at the top: it takes seconds to load

    if not torch.cuda.is_available():
        return {}
    return {"CUDA_VISIBLE_DEVICES": f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"}


def _words(command: str | Sequence[str]) -> list[str]:
    """The words of a command line."""
    return shlex.split(command) if isinstance(command, str) else [str(word) for word in command]


def _command_problems(command: str | Sequence[str]) -> Iterable[str]:
    """What is wrong with a command line."""
    try:
        words = _words(command)
    except ValueError as error:
        yield f"command: {command!r} cannot be split into words: {error}"
        return
    if not any("{out}" in word for word in words):
        yield f"command: {command!r} has no {{out}}, the folder into which it writes masks"
    used = dict.fromkeys(match for word in words for match in re.findall(r"\{\w+\}", word))
    if unknown := [placeholder for placeholder in used if placeholder not in PLACEHOLDERS]:
        yield f"command: unknown {', '.join(unknown)} in {command!r}. Valid: {', '.join(PLACEHOLDERS)}"


def _ending(code: int) -> str:
    """How a command ended, in words."""
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _write_inputs(clip: Clip, work: Path) -> tuple[Path, Path, Path]:
    """The folder of frames, the file of expressions and the empty folder for the masks of a clip.

    Frames that are picture files are linked, others are written as PNG.
    """
    frames, expressions, out = work / "JPEGImages" / clip.name, work / "meta_expressions.json", work / "out"
    frames.mkdir(parents=True)
    out.mkdir()
    originals = getattr(clip.images, "paths", None)
    for t, name in enumerate(clip.frames):
        if originals is not None:
            os.symlink(os.path.abspath(originals[t]), frames / f"{name}{Path(originals[t]).suffix}")
        else:
            _, data = cv2.imencode(".png", cv2.cvtColor(clip.read(t), cv2.COLOR_RGB2BGR))
            (frames / f"{name}.png").write_bytes(data.tobytes())
    of_clip = {"frames": list(clip.frames), "expressions": {e.id: {"exp": e.text} for e in clip.expressions}}
    expressions.write_text(json.dumps({"videos": {clip.name: of_clip}}, indent=1), encoding="utf-8")
    return frames, expressions, out


def _in_memory(sequence: MaskSequence) -> MaskSequence:
    """The sequence with its masks read from disk."""
    masks = (sequence.masks[t] for t in range(len(sequence)))
    packed = PackedMasks.pack(masks) if sequence.kind == "binary" else np.stack(list(masks))
    return sequence.with_(masks=packed)
