"""AOT and DeAOT as propagators: one network for all sequences of a clip, in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.hashing import file_hash, file_stamp
from rvos_ensemble.adapters.core.settings import listed, number, switch, table, text, whole
from rvos_ensemble.adapters.inference import device
from rvos_ensemble.adapters.inference.options import DEVICE, PRECISION, WEIGHTS
from rvos_ensemble.adapters.inference.weights import weights_file
from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.inference.checkpoint import load_network
from rvos_ensemble.propagators.inference.object_banks import nearest, probabilities
from rvos_ensemble.propagators.inference.tracker import Tracker
from rvos_ensemble.propagators.inference.tta import Augmentation, augmentations
from rvos_ensemble.propagators.networks.network import MAX_OBJECTS, FrameFeatures
from rvos_ensemble.propagators.networks.variants import find_variant

TTA: dict[str, Any] = {
    "flip": switch(False),
    "scales": listed(number(least=0.1, most=4), [1.0], least=1, most=16, what="numbers from 0.1 to 4"),
}
DEFAULTS: dict[str, Any] = {
    "weights": WEIGHTS,  # a checkpoint of the official code, or the name of weights that come with the package
    # such as r50_deaotl; None takes what the file holds: see `VOSFamily.variant` on AOT-B and -L
    "variant": text(None),
    # of the input, pixels; None: as the variant was tested, 1040 for the official ones
    "max_long_edge": whole(None, least=32, most=1 << 14),
    # frames between two long-term memories; 0: key frames only; None: as the variant was tested
    "memory_gap": whole(None),
    "max_memory_frames": whole(24, least=1),  # long-term memory at most; more than a clip of 120 frames needs at gap 5
    # sequences at once in the network, more take several passes; None: 16 on CUDA, 4 on a CPU
    "batch": whole(None, least=1),
    "device": DEVICE,  # auto (CUDA where there is one), cpu, cuda, cuda:1, ...
    "precision": PRECISION,  # fp32, or autocast to bf16 or fp16 (fp16 on CUDA only); see docs/models.md on TF32
    "compile": switch(False),  # torch.compile of encoder and decoder: minutes at the first frame of a size, then faster
    # False: the backward pass reads the memory of the forward pass (LSVOS 2023 code)
    "reset_between_passes": switch(True),
    # {flip: true, scales: [0.8, 1.0, 1.2]}: views averaged, the average remembered by all (LSVOS 2023)
    "tta": table(None, below=TTA, what="{flip: true or false, scales: [...]}"),
    # up to 10 sequences of a step with one key frame and no common pixel in one identity bank: fast, they compete
    "pack": switch(False),
}


class Model:
    """A loaded network and how it is to be used. Travels to other processes as its settings.

    Args:
        settings: values for `DEFAULTS`.
        family: "aot" or "deaot".

    Raises:
        InputError: every setting that makes no sense, or what is wrong with the weights.
    """

    def __init__(self, settings: dict[str, Any], family: str):
        self.settings, self.family = settings, family
        self.tta = merge_settings(TTA, dict(settings["tta"] or {}), f"{family}: tta")
        variant = settings["variant"] and find_variant(settings["variant"], family)
        network = load_network(settings["weights"], variant)
        if network.variant.family != family:
            raise InputError(
                f"{settings['weights']}: holds weights of {network.variant.name}, which is no {family.upper()}; "
                f"use the propagator `{network.variant.family}`"
            )
        self.device = device.pick(settings["device"])
        self.variant, self.network, self.placed = network.variant, network, False
        self.batch = settings["batch"] or (16 if self.device.type == "cuda" else 4)
        gap = settings["memory_gap"]
        self.memory_gap = self.variant.memory_gap if gap is None else gap or None

    def __reduce__(self):
        return Model, (self.settings, self.family)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights."""
        return file_hash(file_stamp(weights_file(self.settings["weights"])))

    def autocast(self):
        """The context that computes in the chosen precision."""
        return device.autocast(self.device, self.settings["precision"])

    def features(self, frame: Frame, view: Augmentation) -> FrameFeatures:
        """What the network makes of a frame, once for all sequences and both sweeps."""
        key = "features", self.family, self.settings["weights"], view
        if key not in frame.memo:
            image = view.image(frame.image).to(self.device, non_blocking=True)
            with torch.no_grad(), self.autocast():
                frame.memo[key] = self.network.encode(image)
        return frame.memo[key]

    def sweep(self, size: tuple[int, int]) -> NetworkSweep:
        """A pass with a clean memory over frames of that size."""
        if not self.placed:  # only now: processes that check a recipe, or share clips out, need no memory on a device
            self.network.to(self.device)
            if self.settings["compile"]:
                self.network.encoder.compile(dynamic=False)
                self.network.decoder.compile()  # sequences come and go: after the second number of them, for any
            self.placed = True
        return NetworkSweep(self, size)

    def reverse(self, sweep: NetworkSweep, size: tuple[int, int]) -> NetworkSweep:
        """The pass back: clean, or with what the pass forward remembers."""
        if self.settings["reset_between_passes"]:
            return self.sweep(size)
        for tracker in sweep.trackers:
            tracker.rest()
        return sweep


class NetworkSweep:
    """One pass: a tracker per view, all fed with the mean of the views.

    A sequence is one object of a bank; banks hold one sequence, or several where `pack` is on. A sequence whose masks
    so far were all empty has no object: its probability is 0.
    """

    def __init__(self, model: Model, size: tuple[int, int]):
        s = model.settings
        self.model, self.size = model, size
        edge = s["max_long_edge"] or model.variant.max_long_edge
        self.augmentations = augmentations(size, edge, model.tta, model.variant.align_corners)
        self.trackers = [
            Tracker(model.network, model.memory_gap, s["max_memory_frames"], model.batch) for _ in self.augmentations
        ]
        self.members: list[list[int]] = []  # bank -> its sequences, object 1 first
        self.bank: dict[int, int] = {}  # sequence -> its bank
        self.seen: set[int] = set()  # sequences that ever had a pixel

    def step(self, frame: Frame, given: Mapping[int, np.ndarray]) -> dict[int, Any]:
        """Goes to the next frame; see `propagators.propagator.Sweep`."""
        features = [self.model.features(frame, view) for view in self.augmentations]
        self.seen |= {i for i, mask in given.items() if mask.any()}
        self._enlist(given)
        banks = {self.bank[i] for i in given}
        # a bank with masks for all its sequences need not be propagated to this frame
        whole = {b for b in banks if all(i in given for i in self.members[b])}
        with torch.no_grad(), self.model.autocast():
            results, labels, order = self._propagate(features, whole)
            if banks:
                self._refer(features, given, sorted(banks), dict(zip(order, labels, strict=True)))
            if order:
                for tracker, view in zip(self.trackers, self.augmentations, strict=True):
                    tracker.update(nearest(view.mirror(labels), view.size))
        return results | {i: np.where(mask, np.uint8(255), np.uint8(0)) for i, mask in given.items()}

    def _propagate(self, features: list[FrameFeatures], without: set[int]) -> tuple[dict[int, Any], Tensor, list[int]]:
        """Results of all running banks but those, their labels [B, H, W], and the banks in the order of labels."""
        order = [b for b in self.trackers[0].banks if b not in without]
        logits = [t.step(f, without) for t, f in zip(self.trackers, features, strict=True)]
        if not order:
            return {}, torch.empty(0), []
        results, labels = {}, []
        for start in range(0, len(order), self.model.batch):  # full-size maps of a few banks at a time
            part = slice(start, start + self.model.batch)
            p = self._average([x[part] for x in logits])
            labels.append(_best(p))
            rows = AsyncHostCopy(torch.ceil(p[:, 1:] * 255 - 0.5).to(torch.uint8))  # as `sequence.quantise`
            for row, b in enumerate(order[part]):
                results |= {i: _Result(rows, row, place) for place, i in enumerate(self.members[b])}
        return results, torch.cat(labels), order

    def _average(self, logits: list[Tensor]) -> Tensor:
        """Probabilities [B, 1 + objects, H, W], mean of the views."""
        corners = self.model.variant.align_corners
        found = (view.mirror(probabilities(x, self.size, corners)) for view, x in zip(self.augmentations, logits, strict=True))
        return sum(found) / len(self.augmentations)

    def _refer(self, features: list[FrameFeatures], given: Mapping[int, np.ndarray], banks: list[int], labels) -> None:
        """Gives the banks their masks; a sequence without one in a packed bank keeps what was propagated."""
        maps = []
        for b in banks:
            map_ = labels[b].clone() if b in labels else torch.zeros(self.size, device=self.model.device)
            for place, i in enumerate(self.members[b], start=1):
                if i in given:
                    map_[map_ == place] = 0
            for place, i in enumerate(self.members[b], start=1):
                if i in given:
                    map_[torch.from_numpy(np.ascontiguousarray(given[i])).to(self.model.device)] = place
            maps.append(map_)
        objects = [max((n for n, i in enumerate(self.members[b], 1) if i in self.seen), default=0) for b in banks]
        for tracker, view, feature in zip(self.trackers, self.augmentations, features, strict=True):
            tracker.reference(feature, nearest(view.mirror(torch.stack(maps)), view.size), banks, objects)

    def _enlist(self, given: Mapping[int, np.ndarray]) -> None:
        """Banks for sequences that start here: one each, or packed where they have no pixel in common."""
        fresh: list[tuple[int, np.ndarray]] = []  # (bank, its pixels) that started at this frame
        for i, mask in sorted(given.items()):
            if i in self.bank:
                continue
            for n, (b, taken) in enumerate(fresh):
                if self.model.settings["pack"] and len(self.members[b]) < MAX_OBJECTS and not (taken & mask).any():
                    self.members[b].append(i)
                    self.bank[i], fresh[n] = b, (b, taken | mask)
                    break
            else:
                self.bank[i] = len(self.members)
                self.members.append([i])
                fresh.append((self.bank[i], mask))


class AsyncHostCopy:
    """A tensor that travels to the host while the device works on."""

    def __init__(self, x: Tensor):
        self.event = None
        if x.is_cuda:
            self.host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
            self.host.copy_(x, non_blocking=True)
            self.event = torch.cuda.Event()
            self.event.record(torch.cuda.current_stream(x.device))
        else:
            self.host = x

    def numpy(self) -> np.ndarray:
        if self.event is not None:
            self.event.synchronize()
        return self.host.numpy()


class _Result:
    """One sequence's map of a batch, read when it is needed."""

    def __init__(self, rows: AsyncHostCopy, row: int, place: int):
        self.rows, self.index = rows, (row, place)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self.rows.numpy()[self.index], dtype=dtype)


def _best(p: Tensor) -> Tensor:
    """argmax of [B, n, H, W] over n, the first of equals, as float labels [B, H, W]; several times faster on a CPU."""
    best, label = p[:, 0], torch.zeros_like(p[:, 0])
    for i in range(1, p.shape[1]):
        label = torch.where(p[:, i] > best, i, label)
        best = torch.maximum(best, p[:, i])
    return label


def relations(given: dict[str, Any], family: str) -> Iterator[str]:
    """What is wrong with settings that do not go together, with those of `tta`, and for this machine.

    Args:
        given: those that fit by themselves.
        family: "aot" or "deaot".
    """
    yield from device.problems(given, family)
    if given.get("pack") and not given.get("reset_between_passes", True):
        yield f"{family}: `pack` and `reset_between_passes: false` do not go together"
    if given.get("tta"):
        try:
            merge_settings(TTA, dict(given["tta"]), f"{family}: tta")
        except InputError as error:
            yield from error.problems
    if given.get("variant"):
        try:
            find_variant(given["variant"], family)
        except InputError as error:
            yield from error.problems
