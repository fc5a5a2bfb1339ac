"""The loop that every training shares: optimizer, schedule, averaged weights, mixed precision, resuming, several GPUs.

    fit(trainee, {"steps": 1000, "batch": 4}, Path("runs/aot_nano"))

The folder then holds `weights.pth` (the averaged weights, in the official layout), `log.jsonl` (losses and validation)
and `last.pth`, from which the same call goes on where it was interrupted, with the same numbers. Under `torchrun` each
process takes its share of every batch.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import io
import json
import math
import os
import re
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.lifetime import end_with
from rvos_ensemble.adapters.core.settings import choice, listed, number, whole
from rvos_ensemble.adapters.inference import device as devices
from rvos_ensemble.adapters.inference.options import DEVICE, PRECISION
from rvos_ensemble.adapters.training.loop.averages import Averages
from rvos_ensemble.adapters.training.loop.processes import Processes
from rvos_ensemble.adapters.training.loop.task import Trainee

DEFAULTS: dict[str, Any] = {
    "steps": whole(10000, least=1),  # optimizer steps
    "batch": whole(4, least=1),  # samples of a step, in each process
    "accumulate": whole(1, least=1),  # batches whose gradients make one step
    "optimizer": choice("adamw", "adam"),  # or adam
    "lr": number(2e-4, above=0, most=1e3),  # the highest learning rate
    "final_lr": number(0.05, least=0, most=1),  # share of it at the end
    "warmup": number(0.05, least=0, most=1),  # share of the steps in which it rises
    "power": number(0.9, least=0, most=100),  # of the polynomial by which it falls; 0: it stays
    # instead: shares of the steps at which it falls to `drop` of what it was
    "drops": listed(number(least=0, most=1), [], most=1000),
    "drop": number(0.1, least=0, most=1),
    "weight_decay": number(0.05, least=0, most=1e3),
    "clip": number(5.0, least=0),  # largest norm of the gradient; 0: any
    # weights are averaged over about this share of the steps; 0: the last ones count
    "ema": number(0.1, least=0, most=1),
    "precision": PRECISION,  # or bf16, fp16 (CUDA only)
    "device": DEVICE,
    "seed": whole(0),
    "workers": whole(0, most=1024),  # processes that make samples; 0: the training's own
    "validate_every": whole(1000, least=1),
    "save_every": whole(200, least=1),
    "log_every": whole(20, least=1),
}
PARTS = {"step", "seconds", "settings", "state_dict", "averages", "optimizer", "scaler", "log"}  # of what is saved
# may change when a training is resumed
FREE = ("workers", "validate_every", "validate_clips", "save_every", "log_every", "device")


def fit(trainee: Trainee, settings: Mapping[str, Any], out: Path, about: Mapping[str, Any] | None = None) -> Path:
    """Trains, or goes on training.

    Args:
        trainee: what is trained; its network ends with the last weights.
        settings: see `DEFAULTS`.
        out: folder of the results.
        about: what the trainee was made from, as json can say it; a training of another is not gone on with.

    Returns:
        Path of the averaged weights.

    Raises:
        InputError: wrong settings, or `out` holds a training with others.
        FloatingPointError: the loss is not finite; the last state that was saved is kept.
    """
    given = merge_settings(DEFAULTS, dict(settings), "train", lambda given: devices.problems(given, "train"))
    with Processes(given["device"]) as processes:
        return _Training(trainee, given, Path(out), processes, dict(about or {})).run()


OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


def learning_rate(step: int, settings: Mapping[str, Any]) -> float:
    """The learning rate of a step, as a share of the highest.

    >>> from rvos_ensemble.adapters.core.settings import defaults_of
    >>> s = {**defaults_of(DEFAULTS), "steps": 100, "warmup": 0.1, "final_lr": 0.0, "power": 1.0}
    >>> [round(learning_rate(i, s), 2) for i in (0, 4, 9, 55, 99)]
    [0.1, 0.5, 1.0, 0.5, 0.01]
    >>> learning_rate(80, {**s, "drops": [0.5, 0.7]}).__round__(4)
    0.01
    """
    steps = settings["steps"]
    warmup = round(settings["warmup"] * steps)
    if step < warmup:
        return (step + 1) / warmup
    if settings["drops"]:
        return settings["drop"] ** sum(step >= share * steps for share in settings["drops"])
    left = 1 - (step - warmup) / max(1, steps - warmup)
    return settings["final_lr"] + (1 - settings["final_lr"]) * left ** settings["power"]


class _Losses(nn.Module):
    """The trainee's losses as a forward pass, which is what DistributedDataParallel watches."""

    def __init__(self, trainee: Trainee):
        super().__init__()
        self.network = trainee.network
        self.of = trainee.losses

    def forward(self, batch: Any, step: int) -> dict[str, Tensor]:
        return self.of(batch, step)


class _Training:
    def __init__(
        self, trainee: Trainee, settings: dict[str, Any], out: Path, processes: Processes, about: dict[str, Any]
    ):
        self.trainee, self.settings, self.out, self.processes = trainee, settings, out, processes
        self.kept = json.loads(json.dumps({k: v for k, v in {**about, **settings}.items() if k not in FREE}))
        self.device = processes.device
        trainee.network.to(self.device).train()
        groups = trainee.groups(settings["lr"], settings["weight_decay"])
        self.peaks = [g["lr"] for g in groups]
        self.optimizer = OPTIMIZERS[settings["optimizer"]](groups)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings["precision"] == "fp16")
        self.averages = Averages(trainee.network, settings["ema"] * settings["steps"])
        self.losses = processes.wrap(_Losses(trainee))
        self.step = 0
        self.seconds = 0.0  # spent, those before it was resumed included
        self.log: list[dict[str, Any]] = []

    def run(self) -> Path:
        s = self.settings
        self._resume()
        batches = self._batches()
        bar = tqdm(total=s["steps"], initial=self.step, unit="step", disable=not self.processes.first, file=sys.stderr)
        started = time.perf_counter() - self.seconds
        with bar:
            while self.step < s["steps"]:
                terms = self._one_step(batches)
                log, validate, save = (
                    self.step % s[f"{what}_every"] == 0 or self.step == s["steps"]
                    for what in ("log", "validate", "save")
                )
                if log or validate or save:
                    self.seconds = time.perf_counter() - started
                    row = {"step": self.step, "lr": self.optimizer.param_groups[0]["lr"], "seconds": self.seconds}
                    row |= self.processes.mean(terms)
                    self._check(row)
                    self.log.append(row)
                if validate:
                    self.log[-1] |= self._validate()
                if save:
                    self._save()
                bar.update()
                bar.set_postfix(self._latest(), refresh=False)
        return self.out / "weights.pth"

    def _one_step(self, batches: Iterator[Any]) -> dict[str, Tensor]:
        """One optimizer step; the terms of the loss, their sum first."""
        s = self.settings
        share = learning_rate(self.step, s)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share
        torch.manual_seed(_seed(s["seed"], self.step, self.processes.rank))
        total: dict[str, Tensor] = {}
        for part in range(s["accumulate"]):
            last = part == s["accumulate"] - 1
            batch = _move(next(batches), self.device)
            with contextlib.nullcontext() if last else self.processes.no_sync(self.losses):
                with devices.autocast(self.device, s["precision"]):
                    terms = self.losses(batch, self.step)
                loss = sum(terms.values()) / s["accumulate"]
                self.scaler.scale(loss).backward()
            for name, value in {"loss": sum(terms.values()), **terms}.items():
                value = value.detach() / s["accumulate"]
                total[name] = total[name] + value if name in total else value
        self.scaler.unscale_(self.optimizer)
        if s["clip"]:
            nn.utils.clip_grad_norm_(self.trainee.network.parameters(), s["clip"])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.averages.update(self.trainee.network)
        return total

    def _batches(self) -> Iterator[Any]:
        """The batches from the present step on; every process takes other samples of it."""
        s, many = self.settings, self.processes.count
        first, last = self.step * s["accumulate"], s["steps"] * s["accumulate"]
        numbers = (
            [(i * many + self.processes.rank) * s["batch"] + k for k in range(s["batch"])] for i in range(first, last)
        )
        return iter(
            DataLoader(
                self.trainee.samples(),
                batch_sampler=numbers,
                num_workers=s["workers"],
                worker_init_fn=partial(_end_with, os.getpid()) if s["workers"] else None,
                collate_fn=self.trainee.collate,
                pin_memory=self.device.type == "cuda",
            )
        )

    def _check(self, row: Mapping[str, float]) -> None:
        if not all(map(math.isfinite, row.values())):
            raise FloatingPointError(
                f"{self.out}: not finite at step {self.step}: {row}; lower `lr`, or take precision=fp32. "
                f"What was saved before is kept: delete {self.out / 'last.pth'} to start anew"
            )

    def _validate(self) -> dict[str, float]:
        """Figures of the averaged weights, which are written out too."""
        found: dict[str, float] = {}
        if self.processes.first:
            network = copy.deepcopy(self.trainee.network).eval()
            self.averages.load_into(network)
            with torch.no_grad():
                found = self.trainee.validate(network)
            weights = self.trainee.checkpoint({k: v.cpu() for k, v in network.state_dict().items()})
            _write(self.out / "weights.pth", lambda file: torch.save(weights, file))
        self.processes.wait()
        return found

    def _latest(self) -> dict[str, str]:
        """The last loss and the last figures, for the progress bar."""
        rows = {k: v for row in self.log[-200:] for k, v in row.items()}
        return {k: f"{v:.3g}" for k, v in rows.items() if k == "loss" or k[:1].isupper()}

    # Saving and resuming ----------------------------------------------------------------------------------------------

    def _save(self) -> None:
        if not self.processes.first:
            return
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "settings": json.dumps(self.kept),
            "state_dict": self.trainee.network.state_dict(),
            "averages": self.averages.state,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "log": json.dumps(self.log),
        }
        _write(self.out / "last.pth", lambda file: torch.save(state, file))
        lines = "".join(json.dumps(row) + "\n" for row in self.log)
        _write(self.out / "log.jsonl", lambda file: file.write(lines.encode()))

    def _resume(self) -> None:
        path = self.out / "last.pth"
        self.out.mkdir(parents=True, exist_ok=True)
        if self.processes.first:
            _tidy(self.out)
        if not os.path.lexists(path):
            return
        state = _state(path)
        before = json.loads(state["settings"])
        other = {k for k, v in self.kept.items() if before.get(k, v) != v}  # an older version may say less
        if other:
            told = ", ".join(f"{k}={before[k]!r} (now {self.kept[k]!r})" for k in sorted(other))
            raise InputError(f"{path}: a training with {told}; take the same settings to go on, or another `out`")
        try:
            self.trainee.network.load_state_dict(state["state_dict"])
            self.averages.state = {k: v.to(self.device) for k, v in state["averages"].items()}
            self.averages.count = state["step"]
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: a training of another network ({str(error)[:200]}); take another `out`"
            ) from None
        self.step, self.seconds, self.log = state["step"], state["seconds"], json.loads(state["log"])


def _end_with(parent: int, _: int) -> None:
    """A process that makes samples ends with its training, and so does the lock of the folder, which it has too."""
    end_with(parent)


def _seed(seed: int, step: int, rank: int) -> int:
    """Of PyTorch's random numbers in a step, so that a resumed training draws the same."""
    return ((seed * 1_000_003 + step) * 257 + rank) % 2**63


def _move(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {k: _move(v, device) for k, v in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(_move(v, device) for v in batch)
    return batch


def _write(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """The whole file or nothing.

    Raises:
        OSError: it cannot be written; the path is in the error.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # as long as it is held, `_tidy` leaves the file alone
            target = _Target(file)
            try:
                write(target)
            except Exception as error:  # PyTorch's writer hides the reason in an error of its own
                raise target.error or error from None
            os.fsync(file.fileno())
            os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


class _Target(io.BufferedIOBase):
    """A file that remembers why it could not be written."""

    def __init__(self, file: io.FileIO):
        self.file, self.error = file, None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while len(left):
                left = left[self.file.write(left) :]
        except OSError as error:
            self.error = error
            raise
        return size


def _tidy(folder: Path) -> None:
    """Removes what trainings that were killed have left, but not what another one is writing."""
    for name in os.listdir(folder):
        if re.fullmatch(r"\.(last\.pth|weights\.pth|log\.jsonl)\.\d+\.tmp", name):
            with contextlib.suppress(OSError), open(folder / name, "rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (folder / name).unlink()


def _state(path: Path) -> dict[str, Any]:
    """What was saved; PyTorch itself does not compare the checksums in the file.

    Raises:
        InputError: it is damaged, or something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise ValueError(f"wrong checksum of {damaged}")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if missing := PARTS - state.keys():
            raise ValueError(f"without {', '.join(sorted(missing))}")
        json.loads(state["log"]), json.loads(state["settings"]).items()
        return state
    except Exception as error:  # of a damaged file anything
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not the state of a training, or a damaged one ({told}); delete it") from None
