"""An instance segmenter of transformers, checked and loaded, and its instances of a frame."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import contents_hash
from rvos_ensemble.adapters.core.messages import did_you_mean, first_few, shown
from rvos_ensemble.adapters.inference.checkpoints.pretrained import Pretrained, open_pretrained
from rvos_ensemble.adapters.inference.transformers_models.adapter import collected
from rvos_ensemble.adapters.inference.transformers_models.architectures import SEGMENTERS
from rvos_ensemble.adapters.inference.transformers_models.inputs.images import ImageRule, read_rule
from rvos_ensemble.adapters.inference.transformers_models.inputs.tokens import open_tokenizer, padded, tokenizer_files
from rvos_ensemble.adapters.inference.transformers_models.outputs.answer import Instance
from rvos_ensemble.adapters.inference.transformers_models.outputs.instances import Choice, of_eomt, of_mask2former

TASK = "the task is instance"  # what OneFormer is told


class InstanceSegmenter:
    """A network with its image rule, and for OneFormer its task.

    Args:
        kind: "mask2former", "oneformer" or "eomt".
        settings: of the adapter.

    Attributes:
        labels: {number of a class: its name in the checkpoint}.

    Raises:
        InputError: every problem of the folder.
    """

    def __init__(self, kind: str, settings: Mapping[str, Any]):
        self.kind, self.settings = kind, settings
        pretrained = open_pretrained(settings["weights"], [SEGMENTERS[kind]])
        parts = [
            pretrained.network,
            lambda: read_rule(pretrained.folder, divides=kind == "mask2former", pads=kind == "eomt"),
            lambda: self._task(pretrained),
            lambda: self._choice(pretrained),
            lambda: list(tokenizer_files(pretrained.folder, "clip")) if kind == "oneformer" else [],
        ]
        (self.network, rule, self.task, self.choice, files), problems = collected(parts)
        if rule and (problem := self._size_problem(pretrained, *rule)):
            problems.append(problem)
        if problems:
            raise InputError(problems)
        self.rule: ImageRule = rule[0]
        self.labels: dict[int, str] = pretrained.config.id2label
        self._pretrained, self._files = pretrained, [rule[1], *files]

    def fingerprint(self) -> str:
        """Hash of the weights, the config, the image rule and the tokenizer."""
        return f"{self._pretrained.fingerprint()} {contents_hash(self._files)}"

    @property
    def networks(self) -> list[Any]:
        """What `device.autocast` converts."""
        return [self.network]

    def to(self, device: torch.device) -> None:
        """Moves the network to a device."""
        self.network.to(device)

    def problems(self, text: str) -> list[str]:
        """No expression is read."""
        return []

    def instances(self, image: np.ndarray) -> list[Instance]:
        """The instances of a frame, uint8 [H, W, 3] RGB, best first."""
        size = image.shape[:2]
        classes, masks = self._queries(self.rule.pixels(image))
        if self.kind == "eomt":
            padded_size = self.rule.padded or self.rule.exact
            return of_eomt(classes, masks, padded_size, self.rule.inside(size), size, self.choice)
        return of_mask2former(classes, masks, size, self.choice, self.settings["upsample"])

    def _queries(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Class logits [Q, C + 1] and mask logits [Q, h, w], float32."""
        place = next(self.network.parameters()).device
        inputs = {"pixel_values": pixels.to(place)}
        if self.task is not None:
            inputs["task_inputs"] = self.task.to(place)
        out = self.network(**inputs)
        classes, masks = out.class_queries_logits[0].float(), out.masks_queries_logits[0].float()
        if classes.isnan().any() or masks.isnan().any():
            raise InputError(
                f"{self.kind}: its masks are NaN at precision {self.settings['precision']}; take bf16 or fp32"
            )
        return classes, masks

    def _task(self, pretrained: Pretrained) -> torch.Tensor | None:
        """The tokens of the task, int64 [1, L], zeros after them; only OneFormer has one."""
        if self.kind != "oneformer":
            return None
        config = pretrained.config
        tokenizer = open_tokenizer(pretrained.folder, "clip", config.text_encoder_vocab_size)
        return torch.tensor([padded(tokenizer.encode(TASK).ids, config.task_seq_len, 0)])

    def _choice(self, pretrained: Pretrained) -> Choice:
        """Which instances are kept; names of classes become their numbers."""
        s, known = self.settings, pretrained.config.id2label
        wanted = s["labels"]
        if wanted is None:
            return Choice(s["threshold"], s["most"], s["min_area"])
        wanted = [str(name) for name in (wanted if isinstance(wanted, (list, tuple)) else [wanted])]
        unknown = [name for name in wanted if name not in known.values()]
        if unknown:
            raise InputError(
                f"{pretrained.folder}: has no class called {shown(unknown[0])} (setting `labels`)"
                f"{did_you_mean(unknown[0], known.values())} It knows {first_few(known.values(), 8)}"
            )
        numbers = [number for number, name in known.items() if name in wanted]
        return Choice(s["threshold"], s["most"], s["min_area"], numbers)

    def _size_problem(self, pretrained: Pretrained, rule: ImageRule, file: Path) -> str | None:
        """EoMT takes images of one size."""
        if self.kind != "eomt":
            return None
        side, size = pretrained.config.image_size, rule.padded or rule.exact
        expected = tuple(side) if isinstance(side, (list, tuple)) else (side, side)
        if size == expected:
            return None
        return f"{file}: makes inputs of {size} pixels, but the network beside it takes {expected} only"
