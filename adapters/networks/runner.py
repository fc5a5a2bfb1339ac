"""The base of the adapters that run a network: settings, and the inputs checked before the hours begin.

Torch is imported when something has to be known of the weights, not before: recipes that read masks from files start
without it. What happens to a clip is in `inference.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from adapters.adapter import Adapter
from adapters.files.side_files import file_hash, file_stamp
from adapters.sequence import Clip, InputError, Prediction

if TYPE_CHECKING:
    from adapters.networks.inference import Model

DEFAULTS: dict[str, Any] = {
    "weights": "???",  # a checkpoint of the official code, or the name of one of ours, such as soc_nano
    "tokenizer": None,  # folder with the tokenizer's files; None: the cache of Hugging Face, of our weights their own
    "backbone": None,  # expected, such as video_swin_b_p4w7; None takes what the file holds
    "device": "auto",  # auto (CUDA where there is one), cpu, cuda, cuda:1, ...
    "precision": "fp32",  # fp32, or autocast to bf16 or fp16 (fp16 on CUDA only)
    "frames_per_step": 8,  # frames at once in the network: memory, not numbers
    "expressions_per_step": None,  # expressions at once; None: all of the clip
    "threshold": 0.5,  # probability from which on a pixel belongs to the object; soft masks are moved by as much
    "compile": False,  # torch.compile: minutes at first, faster then
}
WINDOWED: dict[str, Any] = {  # of the models that see a clip as a whole
    "window": "auto",  # frames seen together: whole, a number, or auto: whole up to 64 frames, else as for Ref-DAVIS
    "query": "window",  # one query a window, as the official code has it for Ref-DAVIS, or one a `video`
}
WHOLE = 64  # frames: more at once the official deformable attention does not take
CHOICES = {
    "query": ("window", "video"),
    "layer": ("auto", "official", "last"),
    "upsample": ("auto", "x4_nearest", "x4_bilinear"),
}


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

    def __init__(self, **settings):
        super().__init__(**settings)
        if problems := self._problems():
            raise InputError(problems)

    def predict(self, clip: Clip) -> Prediction:
        return self.model.predict(clip)

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Weights and tokenizer that are missing or do not fit; expressions without words, or too long."""
        return self._faults or [problem for clip in clips for problem in self.model.problems(clip)]

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the weights and of the tokenizer."""
        return " ".join(file_hash(file_stamp(path)) for path in self.model.files)

    @cached_property
    def model(self) -> Model:
        """The checked weights and the tokenizer; the network itself is built when the first clip comes."""
        from adapters.networks.inference import Model

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
        from adapters.networks import device

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

    def _problems(self) -> list[str]:
        """Settings that make no sense, one sentence each."""
        s, where = vars(self.settings), self.name
        found = []
        if not s["weights"]:
            found.append(f"{where}: setting `weights` must be given, a checkpoint of the official code")
        for key in ("frames_per_step", "expressions_per_step", "short_side", "long_side"):
            value = s[key]
            if value == self.defaults[key] == "auto":
                continue
            if not (value is None and self.defaults[key] is None) and not _counts(value):
                found.append(f"{where}: setting `{key}` is {value!r}, expected a whole number of at least 1")
        window = s.get("window", "auto")
        if window not in ("auto", "whole") and not _counts(window):
            found.append(f"{where}: setting `window` is {window!r}, expected auto, whole or a number of frames")
        for key, valid in CHOICES.items():
            if key in s and s[key] not in valid:
                found.append(f"{where}: setting `{key}` is {s[key]!r}, expected one of {', '.join(valid)}")
        if not 0 < s["threshold"] < 1:
            found.append(f"{where}: setting `threshold` is {s['threshold']!r}, expected a number between 0 and 1")
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Travels to other processes as its settings."""
        return {"settings": self.settings}


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
