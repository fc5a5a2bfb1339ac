"""The base of the adapters around segmenters and detectors of transformers, which look at a few frames of a clip.

Torch and transformers are imported once something about the weights is needed, not before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.frames import uniform
from rvos_ensemble.adapters.core.settings import path, whole
from rvos_ensemble.adapters.inference.options import DEVICE, PRECISION

if TYPE_CHECKING:
    import torch

FOLDER = path(what="a folder in the Hugging Face layout")
KEY_FRAMES = 7  # of the top-down system, arXiv 2106.01061
ALL = "all"

DEFAULTS: dict[str, Any] = {
    "weights": FOLDER,  # config.json, model.safetensors and what the model's processor needs; see docs/models.md
    "k": whole(KEY_FRAMES, least=1, words=(ALL,)),  # uniformly sampled frames that the network sees, or all
    "device": DEVICE,  # auto (CUDA if available), cpu, cuda, cuda:1, ...
    "precision": PRECISION,  # auto, fp32, or autocast to bf16 or fp16 (fp16 on CUDA only)
}


class KeyFrameAdapter(Adapter):
    """An adapter that runs a network of transformers on uniformly sampled frames.

    A subclass opens its folders in `open`; what `open` returns has `fingerprint()`, `to(device)` and `problems(text)`.
    """

    defaults: ClassVar[dict[str, Any]] = DEFAULTS

    def open(self) -> Any:
        """The networks of the adapter, checked and loaded, on the CPU.

        Raises:
            InputError: everything that is wrong with the folders.
        """
        raise NotImplementedError

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """Problems of `device` and `precision` on this machine."""
        from rvos_ensemble.adapters.inference import device  # imported here, because it imports torch

        yield from device.problems(given, self.name)

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Folders that are incomplete, damaged or of another network; expressions that the network cannot read."""
        if self._problems:
            return self._problems
        return [f"clip {c.name!r}: {p}" for c in clips for e in c.expressions for p in self.model.problems(e.text)]

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the weights and of all other files that are read."""
        return self.model.fingerprint()

    @property
    def uses_gpu(self) -> bool:
        """Whether the setting `device` means a GPU."""
        return self.device.type == "cuda"

    @cached_property
    def model(self) -> Any:
        """What `open` returns, loaded once per process."""
        return self.open()

    @property
    def device(self) -> torch.device:
        """The device that the setting means."""
        from rvos_ensemble.adapters.inference import device

        return device.pick(self.settings.device)

    def key_frames(self, clip: Clip) -> list[int]:
        """The frames that the network sees."""
        return uniform(len(clip), len(clip) if self.settings.k == ALL else self.settings.k)

    @contextlib.contextmanager
    def running(self, clip: Clip) -> Iterator[Any]:
        """The model on its device, without gradients and in the chosen precision."""
        import torch

        from rvos_ensemble.adapters.inference import device

        self.model.to(self.device)
        try:
            networks = self.model.networks
            with torch.no_grad(), device.autocast(self.device, self.settings.precision, *networks):
                yield self.model
        except torch.cuda.OutOfMemoryError as error:
            raise InputError(
                f"clip {clip.name!r}: {self.name}: the device has no memory left ({str(error).split('.')[0]}); take "
                "precision: bf16, or a smaller model"
            ) from None

    @cached_property
    def _problems(self) -> list[str]:
        """Problems of the folders, which are the same for all clips."""
        return collected([lambda: self.model])[1]

    def __getstate__(self) -> dict[str, Any]:
        """Is pickled as its settings."""
        return {"settings": self.settings}


def collected(parts: Sequence[Callable[[], Any]]) -> tuple[list[Any], list[str]]:
    """The results of several functions, None for those that fail, and the problems of all of them together."""
    results, problems = [], []
    for part in parts:
        try:
            results.append(part())
        except InputError as error:
            results.append(None)
            problems += error.problems
    return results, list(dict.fromkeys(problems))
