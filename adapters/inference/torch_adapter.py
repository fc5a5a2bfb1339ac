"""The base of an adapter around a PyTorch network of the user: two methods, `load` and `logits`.

Torch is imported when a network is loaded, not before.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rvos_ensemble.adapters.core import progress
from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.io.hashing import path_hash
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.own_code import origin
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import setting, whole
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.inference.logits import LogitMasks
from rvos_ensemble.adapters.inference.options import DEVICE

if TYPE_CHECKING:
    import torch


class TorchAdapter(Adapter):
    """An adapter around a PyTorch network. A subclass writes `load` and `logits`, and adds its settings to `defaults`.

    The network is loaded once per process, onto the setting `device`. Workers receive the settings only, and load their
    own. Masks are kept as small logits, see `LogitMasks`. Results are computed again when a file changes that a setting
    declared with `settings.path` names, such as weights.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "device": DEVICE,  # auto (CUDA if available), cpu, cuda, cuda:1, ...
        "frames_per_step": whole(8, least=1, null=True),  # frames per call of `logits`; null: the whole clip
    }

    def load(self) -> torch.nn.Module:
        """The network with its weights. It is moved to the device and set to `eval()` afterwards."""
        raise NotImplementedError

    def logits(
        self, network: torch.nn.Module, frames: torch.Tensor, texts: Sequence[str]
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Runs the network on consecutive frames of a clip, without gradients.

        Args:
            network: as loaded, on the device.
            frames: uint8 [T, 3, H, W] RGB, on the device.
            texts: the sentences of the N expressions.

        Returns:
            Mask logits [N, T, h, w], foreground above 0, at any resolution: they are upsampled bilinearly to the clip's
            size. If the network rates its masks, also the scores [N, T], higher means surer.
        """
        raise NotImplementedError

    def predict(self, clip: Clip) -> Prediction:
        """See `Adapter.predict`."""
        import torch

        step = self.settings.frames_per_step or len(clip)
        texts = [e.text for e in clip.expressions]
        masks, scores = [], []
        with torch.no_grad():
            for start in range(0, len(clip), step):
                images = np.stack([clip.read(t) for t in range(start, min(start + step, len(clip)))])
                frames = torch.from_numpy(images).permute(0, 3, 1, 2).to(self._device)
                some_masks, some_scores = self._checked(
                    self.logits(self.network, frames, texts), len(texts), len(frames)
                )
                masks.append(some_masks)
                scores.append(some_scores)
                progress.advance(start + step, len(clip))
        joined = np.concatenate(masks, axis=1)
        rated = None if scores[0] is None else np.concatenate(scores, axis=1)
        return {
            e.id: MaskSequence.prob(LogitMasks(joined[i], tuple(clip.size)), None if rated is None else rated[i])
            for i, e in enumerate(clip.expressions)
        }

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Files that settings name and that do not exist."""
        return [f"{self.name}: {path}: no such file" for path in self._paths() if not os.path.exists(path)]

    def traits(self, clip: Clip) -> Traits:
        """See `Adapter.traits`."""
        return Traits("prob", key_frame=False)

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the files, and of all files in the folders, that settings name."""
        return " ".join(map(path_hash, self._paths()))

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """Whether this machine can run the settings `device` and `precision`."""
        from rvos_ensemble.adapters.inference import device

        return device.problems({"device": given["device"]}, self.name) if "device" in given else ()

    @cached_property
    def network(self) -> torch.nn.Module:
        """The network on its device, loaded once per process."""
        return self.load().to(self._device).eval()

    @property
    def uses_gpu(self) -> bool:
        """Whether the setting `device` means a GPU."""
        return self._device.type == "cuda"

    @property
    def _device(self) -> torch.device:
        from rvos_ensemble.adapters.inference import device

        return device.pick(self.settings.device)

    def _paths(self) -> list[Path]:
        """The values of all settings that are paths."""
        values = ((setting(known), getattr(self.settings, key)) for key, known in self.defaults.items())
        return [user_path(value) for known, value in values if known.endings and isinstance(value, str)]

    def _checked(self, result: Any, texts: int, frames: int) -> tuple[np.ndarray, np.ndarray | None]:
        """What `logits` returned, as arrays: logits float16 [N, T, h, w], and scores float32 [N, T] or None.

        Raises:
            InputError: it has another shape, or holds NaN.
        """
        masks, scores = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
        where = origin(self, "logits") or self.name
        shape = getattr(masks, "shape", None)
        if shape is None or len(shape) != 4 or tuple(shape[:2]) != (texts, frames):
            kind = f"a {type(masks).__name__}" if shape is None else f"logits of shape {tuple(shape)}"
            raise InputError(f"{where}: `logits` returned {kind}, expected [N, T, h, w] with N={texts}, T={frames}")
        if masks.isnan().any():
            raise InputError(f"{where}: `logits` returned NaN")
        if scores is not None and tuple(getattr(scores, "shape", ())) != (texts, frames):
            found = tuple(getattr(scores, "shape", ())) or type(scores).__name__
            raise InputError(f"{where}: `logits` returned scores {found}, expected [N, T] with N={texts}, T={frames}")
        return masks.half().cpu().numpy(), None if scores is None else scores.float().cpu().numpy()

    def __getstate__(self) -> dict[str, Any]:
        """Other processes receive the settings only, and load the network themselves."""
        return {"settings": self.settings}
