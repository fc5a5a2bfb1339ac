"""Object candidates of a small network of this package, on key frames: objects of any class, whatever is said of them.

sources:
  objects: {adapter: objects, weights: candidates_real}
steps:
  candidates: {op: candidates, inputs: objects}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from rvos_ensemble.adapters.core import progress
from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.frames import uniform
from rvos_ensemble.adapters.core.instances import seed
from rvos_ensemble.adapters.core.io.hashing import file_hash, file_stamp
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.adapters.core.settings import number, path, whole
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.inference.logits import grow
from rvos_ensemble.adapters.inference.network_adapter import shipped_name
from rvos_ensemble.adapters.inference.options import DEVICE, PRECISION

if TYPE_CHECKING:
    import torch

    from rvos_ensemble.adapters.networks.candidates.network import CandidateNetwork

ALL = "all"


class ObjectsAdapter(Adapter):
    """The objects of a clip on uniformly sampled frames: needs `weights`, ours or those of `train candidates`."""

    objects = True
    defaults: ClassVar[dict[str, Any]] = {
        # a file that `train candidates` wrote, or the name of weights of this package
        "weights": path(what="weights such as candidates_real"),
        "k": whole(7, least=1, words=(ALL,)),  # uniformly sampled frames that the network sees, or all
        "most": whole(10, least=1),  # objects per frame; the best are kept
        # lowest score: objectness times quality of the mask; low, because a missing candidate cannot be chosen later
        "threshold": number(0.05, least=0, most=1),
        "min_area": number(0.0005, least=0, below=1),  # of a mask, as a share of the frame
        "short_side": whole(None, least=32, most=4096),  # of the input, pixels; None: as the network was trained
        "device": DEVICE,  # auto (CUDA if available), cpu, cuda, cuda:1, ...
        "precision": PRECISION,  # auto, fp32, or autocast to bf16 or fp16 (fp16 on CUDA only)
    }

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """Whether this machine can run the settings `device` and `precision`."""
        from rvos_ensemble.adapters.inference import device  # imported here, because it imports torch

        return device.problems(given, self.name)

    def predict(self, clip: Clip) -> Objects:
        """{"FRAME.RANK": an object in one frame}, its score in that frame; rank 0 is the best of the frame."""
        objects = Objects()
        for t in progress.counted(uniform(len(clip), len(clip) if self.settings.k == ALL else self.settings.k)):
            for rank, (mask, score) in enumerate(self._frame(clip, t)):
                objects[f"{t}.{rank}"] = seed(len(clip), t, mask, score)
        return objects

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Weights that are missing or do not fit."""
        try:
            self.network  # noqa: B018  opens the file
        except InputError as error:
            return error.problems
        return []

    def traits(self, clip: Clip) -> Traits:
        """Binary masks of objects, each with a score and a key frame."""
        return Traits("binary", scores=True, key_frame=True, objects=True)

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the weights."""
        from rvos_ensemble.adapters.inference.checkpoints.weights import weights_file

        return file_hash(file_stamp(weights_file(self.settings.weights)))

    def label(self) -> str:
        """See `Adapter.label`."""
        return shipped_name(self.settings.weights)

    @cached_property
    def network(self) -> CandidateNetwork:
        """The network with its weights, on its device."""
        from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint

        return open_checkpoint(self.settings.weights, "candidates").network().to(self._device)

    @property
    def uses_gpu(self) -> bool:
        """Whether the setting `device` means a GPU."""
        return self._device.type == "cuda"

    @property
    def _device(self) -> torch.device:
        from rvos_ensemble.adapters.inference import device

        return device.pick(self.settings.device)

    def _frame(self, clip: Clip, t: int) -> list[tuple[Any, float]]:
        """Masks bool [H, W] and scores of the objects of a frame, the best first."""
        import torch

        from rvos_ensemble.adapters.inference import device, preprocess
        from rvos_ensemble.adapters.networks.candidates.selection import select

        s = self.settings
        size = self.network.input_size(clip.size, s.short_side)
        with torch.no_grad(), device.autocast(self._device, s.precision, self.network):
            image = preprocess.shrink(clip.read(t), size, "torchvision")[None].to(self._device)
            best = select(self.network, self.network(image), 0, s.most, s.threshold, s.min_area)
        masks = [grow(logits, tuple(clip.size)) > 0 for logits in best.logits.cpu().numpy()]
        return [(mask, score) for mask, score in zip(masks, best.scores.tolist(), strict=True) if mask.any()]

    def __getstate__(self) -> dict[str, Any]:
        """Is pickled as its settings."""
        return {"settings": self.settings}
