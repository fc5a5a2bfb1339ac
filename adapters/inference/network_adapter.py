"""The base of the adapters that run a network: settings, and the inputs checked before the hours begin.

Torch is imported when something has to be known of the weights, not before: recipes that read masks from files start
without it. What happens to a clip is in `inference.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.hashing import file_hash, file_stamp
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import choice, number, switch, text, whole
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.inference.options import DEVICE, PRECISION, TOKENIZER, WEIGHTS

if TYPE_CHECKING:
    from rvos_ensemble.adapters.inference.model import Model

DEFAULTS: dict[str, Any] = {
    "weights": WEIGHTS,  # a checkpoint of the official code, or the name of one of ours, such as soc_nano
    # folder with the tokenizer's files; None: the cache of Hugging Face, of our weights their own
    "tokenizer": TOKENIZER,
    "backbone": text(None),  # expected, such as video_swin_b_p4w7; None takes what the file holds
    "device": DEVICE,  # auto (CUDA where there is one), cpu, cuda, cuda:1, ...
    "precision": PRECISION,  # fp32, or autocast to bf16 or fp16 (fp16 on CUDA only)
    "frames_per_step": whole(8, least=1),  # frames at once in the network: memory, not numbers
    "expressions_per_step": whole(None, least=1),  # expressions at once; None: all of the clip
    # probability from which on a pixel belongs to the object; soft masks are moved by as much
    "threshold": number(0.5, above=0, below=1),
    "compile": switch(False),  # torch.compile: minutes at first, faster then
}
WINDOWED: dict[str, Any] = {  # of the models that see a clip as a whole
    # frames seen together: whole, a number, or auto: whole up to 64 frames, else as for Ref-DAVIS
    "window": whole("auto", least=1, words=("auto", "whole")),
    "query": choice("window", "video"),  # one query a window, as the official code has it for Ref-DAVIS, or one a video
}
SHORT_SIDE = whole("auto", least=1, most=1 << 14, words=("auto",))  # of the input, pixels
LONG_SIDE = whole(None, least=1, most=1 << 14)  # of the input at most, pixels
LAYER = choice("auto", "official", "last")  # of the decoder, whose masks are taken
WHOLE = 64  # frames: more at once the official deformable attention does not take


class NetworkAdapter(Adapter):
    """An adapter that runs a network of `adapters/networks`, called like the adapter.

    Attributes:
        resize: how the official code rounds sizes: "torchvision" or "detectron2".
        short_side, small_side: of the input, as the official code has it, and as our small weights were trained.
        at_once: frames in the network, of a published one and of ours, where `frames_per_step` is auto.
        davis_window: frames that the official code for Ref-DAVIS sees together; None where frames do not see others.
        score: what the scores P are, for the notes; None where the model has none.
        without: why there are none.
    """

    resize: ClassVar[str] = "torchvision"
    short_side: ClassVar[int] = 360
    small_side: ClassVar[int] = 96
    at_once: ClassVar[tuple[int, int]] = (8, 8)
    davis_window: ClassVar[int | None] = 36
    score: ClassVar[str | None] = None
    without: ClassVar[str] = ""

    def predict(self, clip: Clip) -> Prediction:
        return self.model.predict(clip)

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Weights and tokenizer that are missing or do not fit; expressions without words, or too long."""
        return self._faults or [problem for clip in clips for problem in self.model.problems(clip)]

    def traits(self, clip: Clip) -> Traits:
        return Traits("prob", scores=self.score is not None, key_frame=False)

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the weights and of the tokenizer."""
        return " ".join(file_hash(file_stamp(path)) for path in self.model.files)

    @cached_property
    def model(self) -> Model:
        """The checked weights and the tokenizer; the network itself is built when the first clip comes."""
        from rvos_ensemble.adapters.inference.model import Model

        return Model(self)

    @cached_property
    def _faults(self) -> list[str]:
        """What is wrong with weights and tokenizer, found once for all clips."""
        try:
            self.model  # noqa: B018  opens both
        except InputError as error:
            return error.problems
        return []

    @property
    def uses_gpu(self) -> bool:
        from rvos_ensemble.adapters.inference import device

        if problems := list(device.problems(vars(self.settings), self.name)):
            raise InputError(problems)
        return device.pick(self.settings.device).type == "cuda"

    def spans(self, length: int) -> list[range]:
        """The frames that are seen together, in order.

        Args:
            length: frames of the clip.
        """
        if self.davis_window is None:  # every frame by itself: as many at once as memory allows
            window = self.model.frames_per_step
        elif self.settings.window == "auto":
            window = length if length <= WHOLE else self.davis_window
        else:
            window = length if self.settings.window == "whole" else self.settings.window
        return [range(a, min(a + window, length)) for a in range(0, length, window)]

    def __getstate__(self) -> dict[str, Any]:
        """Travels to other processes as its settings."""
        return {"settings": self.settings}
