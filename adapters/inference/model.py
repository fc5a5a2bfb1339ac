"""What happens to a clip: frames once, expressions together, masks kept as small logits. The official procedures."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.inference import device, preprocess
from rvos_ensemble.adapters.inference.checkpoint import open_checkpoint
from rvos_ensemble.adapters.inference.logits import LogitMasks
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.interface import Answer, Network, Text, join

if TYPE_CHECKING:
    from rvos_ensemble.adapters.inference.network_adapter import NetworkAdapter

HIGHEST = 60000.0  # what float16 holds, nearly


class Model:
    """A checkpoint and a tokenizer, both checked, and the network that they make.

    Args:
        adapter: says the settings and the model's own ways.

    Raises:
        InputError: what is wrong with the settings, the weights or the tokenizer; all of them together.
    """

    def __init__(self, adapter: NetworkAdapter):
        self.adapter, self.settings = adapter, adapter.settings
        s = vars(self.settings)
        problems = list(device.problems(s, adapter.name))
        try:
            self.checkpoint = open_checkpoint(s["weights"], adapter.name, s["backbone"])
            self.language = self.checkpoint.family.language
            self.tokenizer = text.load_tokenizer(self.language, self._tokenizer)
            problems += self._foreign_tokenizer()
        except InputError as error:
            problems += error.problems
        if problems:
            raise InputError(problems)
        self.device = device.pick(s["device"])

    @property
    def files(self) -> list[Path]:
        """What the results depend on."""
        return [self.checkpoint.path, *text.tokenizer_files(self.language, self._tokenizer)]

    @property
    def frames_per_step(self) -> int:
        """Frames at once in the network."""
        s = self.settings.frames_per_step
        return self.adapter.at_once[self.checkpoint.small] if s == "auto" else s

    @property
    def _tokenizer(self) -> str | None:
        """The folder of the tokenizer: the one given, of small weights the one that comes with the package."""
        return self.settings.tokenizer or (str(self.language.small) if self.checkpoint.small else None)

    @cached_property
    def network(self) -> Network:
        """Loaded, on its device."""
        network = self.checkpoint.network(getattr(self.settings, "layer", None)).to(self.device)
        if self.settings.compile:
            network.get_submodule(self.checkpoint.family.backbone.rstrip(".")).compile(dynamic=False)
        return network

    def problems(self, clip: Clip) -> list[str]:
        """Expressions that the model cannot take."""
        try:
            rows = self._tokens(clip)
        except InputError as error:
            return [f"clip {clip.name!r}: {problem}" for problem in error.problems]
        unknown = self.tokenizer.token_to_id(self.language.unknown) if self.checkpoint.small else None
        strange = [e.text for e, row in zip(clip.expressions, rows, strict=True) if unknown in row]
        if not strange:
            return []
        return [
            f"clip {clip.name!r}: {self.settings.weights} is a small network of ours that knows only the words of "
            f"`shapes`, and not all of these: {first_few(strange, 3)}. Give `weights` of the official code, or masks "
            "on disk with predictions=FOLDER"
        ]

    def predict(self, clip: Clip) -> Prediction:
        """The masks of every expression of the clip, see `Adapter.predict`."""
        spans = self.adapter.spans(len(clip))
        try:
            with torch.no_grad():
                words = text.encode(self.network.language_model, self.language, self._tokens(clip))
                query = self._query_of_video(clip, spans, words) if self._asks_twice(spans) else None
                answers = [self._answers(clip, span, words, query=query) for span in spans]
        except torch.cuda.OutOfMemoryError as error:
            raise InputError(
                f"clip {clip.name!r}: {self.adapter.name}: the device has no memory left ({str(error).split('.')[0]}); "
                "lower frames_per_step, expressions_per_step or window, or take precision: bf16"
            ) from None
        return {e.id: self._sequence(clip, answers, i) for i, e in enumerate(clip.expressions)}

    def _asks_twice(self, spans: list[range]) -> bool:
        return getattr(self.settings, "query", "window") == "video" and len(spans) > 1

    def _query_of_video(self, clip: Clip, spans: list[range], words: Text) -> Tensor:
        """The query of each expression that is best over all frames, int64 [E]."""
        scores = [self._answers(clip, span, words, masks_for="none").query_scores * len(span) for span in spans]
        return sum(scores).argmax(1).to(self.device)

    def _answers(self, clip: Clip, span: range, words: Text, query: Tensor | None = None, **options: Any) -> Answer:
        """What the network says of all expressions in some frames; kept on the host, logits as float16."""
        s = self.settings
        images = preprocess.read(clip, span, self._input_size(clip), self.adapter.resize).to(self.device)
        step = s.expressions_per_step or len(words)
        found = []
        with device.autocast(self.device, s.precision):
            features = self.network.encode(images, self.frames_per_step)
            for start in range(0, len(words), step):
                part = slice(start, start + step)
                options["query"] = None if query is None else query[part]
                found.append(self._on_host(self.network.answer(features, words[part], self.frames_per_step, **options)))
        return join(found)

    def _sequence(self, clip: Clip, answers: list[Answer], i: int) -> MaskSequence:
        """The masks of expression i, windows joined."""
        s, a = self.settings, self.adapter
        logits = np.concatenate([answer.logits[i].numpy() for answer in answers])
        rule = getattr(s, "upsample", "bilinear")
        if rule == "auto":  # as released; of our own weights without its steps
            rule = "x4_bilinear" if self.checkpoint.small else "x4_nearest"
        inside = None if rule == "bilinear" else self._input_size(clip)
        scores = None if a.score is None else np.concatenate([answer.scores[i].numpy() for answer in answers])
        notes: dict[str, Any] = {"model": f"{a.name} {self.checkpoint.backbone}", "score_source": a.score or a.without}
        if a.davis_window is not None:  # queries of a frame are nobody in the next
            notes["query"] = [int(answer.query[i]) for answer in answers]
            notes["query_scores"] = [[round(p, 4) for p in answer.query_scores[i].tolist()] for answer in answers]
        return MaskSequence.prob(LogitMasks(logits, tuple(clip.size), rule, inside), scores, **notes)

    def _input_size(self, clip: Clip) -> tuple[int, int]:
        s, a = self.settings, self.adapter
        short = s.short_side if s.short_side != "auto" else a.small_side if self.checkpoint.small else a.short_side
        return preprocess.input_size(clip.size, short, s.long_side, a.resize)

    def _tokens(self, clip: Clip) -> list[list[int]]:
        return text.tokenize(self.tokenizer, self.language, [e.text for e in clip.expressions])

    def _on_host(self, answer: Answer) -> Answer:
        """The answer on the host, logits as float16 and moved so that `threshold` lies at 0."""
        t = self.settings.threshold
        logits = answer.logits
        if logits is not None:
            if logits.isnan().any():
                raise InputError(
                    f"{self.adapter.name}: masks that are no numbers, at precision {self.settings.precision}; "
                    "take bf16 or fp32, and see whether `weights verify` finds the file whole"
                )
            logits = (logits.float() - math.log(t / (1 - t))).clamp(-HIGHEST, HIGHEST).half().cpu()
        scores = None if answer.scores is None else answer.scores.float().cpu()
        return Answer(answer.query_scores.float().cpu(), answer.query.cpu(), answer.boxes.float().cpu(), scores, logits)

    def _foreign_tokenizer(self) -> list[str]:
        rows = self.checkpoint.weights[f"{self.checkpoint.family.language_model}embeddings.word_embeddings.weight"]
        if len(rows) == self.tokenizer.get_vocab_size():
            return []
        where = text.tokenizer_files(self.language, self._tokenizer)[0]
        return [
            f"{where}: a tokenizer of {self.tokenizer.get_vocab_size()} entries, expected {len(rows)} as the text "
            f"encoder in {self.checkpoint.path} has; take that of {self.language.name}"
        ]
