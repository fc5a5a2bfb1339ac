"""The training loop of all tasks: optimizer, schedule, averaged weights, mixed precision, resuming, several GPUs.

    fit(task, {"steps": 1000, "batch": 4}, Path("runs/aot_nano"))

The output folder then contains `weights.pth` (the averaged weights in the official layout), `log.jsonl` (losses and
validation) and `last.pth`, from which the same call resumes after an interruption with the same numbers. Under
`torchrun` each process takes its share of every batch.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import atomic_write, remove_leftovers
from rvos_ensemble.adapters.core.io.lifetime import end_with
from rvos_ensemble.adapters.inference import device as devices
from rvos_ensemble.adapters.training.loop import state as files
from rvos_ensemble.adapters.training.loop.averaged_weights import AveragedWeights
from rvos_ensemble.adapters.training.loop.processes import Processes
from rvos_ensemble.adapters.training.loop.schedule import learning_rate
from rvos_ensemble.adapters.training.loop.settings import DEFAULTS, RESUMABLE
from rvos_ensemble.adapters.training.loop.task import TrainingTask

OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


def fit(task: TrainingTask, settings: Mapping[str, Any], out: Path, about: Mapping[str, Any] | None = None) -> Path:
    """Trains a network, or resumes an interrupted run.

    Args:
        task: the task; its network holds the last weights afterwards.
        settings: values for `DEFAULTS`.
        out: folder of the results.
        about: the settings from which the task was made, as JSON values; a run with other settings is not resumed.

    Returns:
        Path of the averaged weights.

    Raises:
        InputError: invalid settings, or `out` contains a run with other settings.
        FloatingPointError: the loss is not finite; the last saved state is kept.
    """
    values = merge_settings(DEFAULTS, dict(settings), "train", lambda values: devices.problems(values, "train"))
    with Processes(values["device"]) as processes:
        return _TrainingRun(task, values, Path(out), processes, dict(about or {})).run()


class _LossModule(nn.Module):
    """The task's losses as the forward pass of a module, which DistributedDataParallel requires."""

    def __init__(self, task: TrainingTask):
        super().__init__()
        self.network = task.network
        self.losses = task.losses

    def forward(self, batch: Any, step: int) -> dict[str, Tensor]:
        return self.losses(batch, step)


class _TrainingRun:
    """One call of `fit` in one process."""

    def __init__(
        self, task: TrainingTask, settings: dict[str, Any], out: Path, processes: Processes, about: dict[str, Any]
    ):
        self.task, self.settings, self.out, self.processes = task, settings, out, processes
        self.saved_settings = json.loads(
            json.dumps({k: v for k, v in {**about, **settings}.items() if k not in RESUMABLE})
        )
        self.device = processes.device
        task.network.to(self.device).train()
        groups = task.groups(settings["lr"], settings["weight_decay"])
        self.peak_rates = [g["lr"] for g in groups]
        self.optimizer = OPTIMIZERS[settings["optimizer"]](groups)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings["precision"] == "fp16")
        self.averages = AveragedWeights(task.network, settings["ema"] * settings["steps"])
        self.losses = processes.wrap(_LossModule(task))
        self.step = 0
        self.seconds = 0.0  # training time, including the time before the run was resumed
        self.log: list[dict[str, Any]] = []

    def run(self) -> Path:
        """Trains until the last step; returns the path of the averaged weights."""
        s = self.settings
        self._resume()
        batches = self._batches()
        bar = tqdm(total=s["steps"], initial=self.step, unit="step", disable=not self.processes.first, file=sys.stderr)
        started = time.perf_counter() - self.seconds
        with bar:
            while self.step < s["steps"]:
                terms = self._optimizer_step(batches)
                log, validate, save = (
                    self.step % s[f"{event}_every"] == 0 or self.step == s["steps"]
                    for event in ("log", "validate", "save")
                )
                if log or validate or save:
                    self.seconds = time.perf_counter() - started
                    self._log(terms)
                if validate:
                    self.log[-1] |= self._validate()
                if save:
                    self._save()
                bar.update()
                bar.set_postfix(self._latest(), refresh=False)
        return self.out / "weights.pth"

    def _optimizer_step(self, batches: Iterator[Any]) -> dict[str, Tensor]:
        """Runs one optimizer step; returns the loss and its terms, averaged over the accumulated batches."""
        s = self.settings
        share = learning_rate(self.step, s)
        for group, peak in zip(self.optimizer.param_groups, self.peak_rates, strict=True):
            group["lr"] = peak * share
        torch.manual_seed(_seed(s["seed"], self.step, self.processes.rank))
        total: dict[str, Tensor] = {}
        for part in range(s["accumulate"]):
            last = part == s["accumulate"] - 1
            batch = _to_device(next(batches), self.device)
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
            nn.utils.clip_grad_norm_(self.task.network.parameters(), s["clip"])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.averages.update(self.task.network)
        return total

    def _batches(self) -> Iterator[Any]:
        """The batches from the current step on; each process draws different samples of a step."""
        s, processes = self.settings, self.processes
        first, last = self.step * s["accumulate"], s["steps"] * s["accumulate"]
        indices = (
            [(i * processes.count + processes.rank) * s["batch"] + k for k in range(s["batch"])]
            for i in range(first, last)
        )
        return iter(
            DataLoader(
                self.task.samples(),
                batch_sampler=indices,
                num_workers=s["workers"],
                worker_init_fn=partial(_end_with_parent, os.getpid()) if s["workers"] else None,
                collate_fn=self.task.collate,
                pin_memory=self.device.type == "cuda",
            )
        )

    # Logging and validation -------------------------------------------------------------------------------------------

    def _log(self, terms: Mapping[str, Tensor]) -> None:
        """Appends a row to the log.

        Raises:
            FloatingPointError: a value is not finite.
        """
        row = {"step": self.step, "lr": self.optimizer.param_groups[0]["lr"], "seconds": self.seconds}
        row |= self.processes.mean(terms)
        if not all(map(math.isfinite, row.values())):
            raise FloatingPointError(
                f"{self.out}: not finite at step {self.step}: {row}; lower `lr` or use precision=fp32. "
                f"The last saved state is kept: delete {self.out / 'last.pth'} to start again"
            )
        self.log.append(row)

    def _validate(self) -> dict[str, float]:
        """Validates the averaged weights and writes them."""
        metrics: dict[str, float] = {}
        if self.processes.first:
            network = copy.deepcopy(self.task.network).eval()
            self.averages.load_into(network)
            with torch.no_grad():
                metrics = self.task.validate(network)
            weights = self.task.checkpoint({k: v.cpu() for k, v in network.state_dict().items()})
            atomic_write(self.out / "weights.pth", lambda file: torch.save(weights, file))
        self.processes.wait()
        return metrics

    def _latest(self) -> dict[str, str]:
        """The latest loss and validation metrics for the progress bar."""
        latest = {k: v for row in self.log[-200:] for k, v in row.items()}
        return {k: f"{v:.3g}" for k, v in latest.items() if k == "loss" or k[:1].isupper()}

    # Saving and resuming ----------------------------------------------------------------------------------------------

    def _save(self) -> None:
        if not self.processes.first:
            return
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "settings": json.dumps(self.saved_settings),
            "state_dict": self.task.network.state_dict(),
            "averages": self.averages.state,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "log": json.dumps(self.log),
        }
        atomic_write(self.out / "last.pth", lambda file: torch.save(state, file))
        lines = "".join(json.dumps(row) + "\n" for row in self.log)
        atomic_write(self.out / "log.jsonl", lambda file: file.write(lines.encode()))

    def _resume(self) -> None:
        """Loads the saved state if the folder contains one.

        Raises:
            InputError: the state is damaged, or belongs to a run with other settings or another network.
        """
        path = self.out / "last.pth"
        self.out.mkdir(parents=True, exist_ok=True)
        if self.processes.first:
            remove_leftovers(self.out)
        if not os.path.lexists(path):
            return
        state = files.read(path)
        before = json.loads(state["settings"])  # an older version may have saved fewer settings
        changed = [
            f"{k}={before[k]!r} (now {v!r})" for k, v in sorted(self.saved_settings.items()) if before.get(k, v) != v
        ]
        if changed:
            raise InputError(
                f"{path}: a run with {', '.join(changed)}; use the same settings to resume it, or another `out`"
            )
        try:
            self.task.network.load_state_dict(state["state_dict"])
            self.averages.state = {k: v.to(self.device) for k, v in state["averages"].items()}
            self.averages.count = state["step"]
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: a run of another network ({str(error)[:200]}); use another `out`") from None
        self.step, self.seconds, self.log = state["step"], state["seconds"], json.loads(state["log"])


def _end_with_parent(parent: int, _: int) -> None:
    """Ends a loader process with the training process, which releases the folder's lock that both hold."""
    end_with(parent)


def _seed(seed: int, step: int, rank: int) -> int:
    """Seed of PyTorch's random numbers in a step, so that a resumed run draws the same numbers."""
    return ((seed * 1_000_003 + step) * 257 + rank) % 2**63


def _to_device(batch: Any, device: torch.device) -> Any:
    """Copies all tensors of a batch to a device."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {k: _to_device(v, device) for k, v in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(_to_device(v, device) for v in batch)
    return batch
