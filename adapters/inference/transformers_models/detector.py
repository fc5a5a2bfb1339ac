"""GroundingDINO and MM-GroundingDINO with a segmenter: sentences to boxes to masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import contents_hash
from rvos_ensemble.adapters.inference.checkpoints.pretrained import Pretrained, open_pretrained
from rvos_ensemble.adapters.inference.transformers_models.adapter import collected
from rvos_ensemble.adapters.inference.transformers_models.architectures import DETECTORS
from rvos_ensemble.adapters.inference.transformers_models.box_masks import BoxMasks
from rvos_ensemble.adapters.inference.transformers_models.inputs.images import read_rule
from rvos_ensemble.adapters.inference.transformers_models.inputs.tokens import (
    open_tokenizer,
    problems_of,
    tokenizer_files,
)
from rvos_ensemble.adapters.inference.transformers_models.outputs.answer import Answer, Instance

SEPARATORS = {"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}  # numbers that the network has built in


class Detector:
    """A detector with its tokenizer and image rule, and a segmenter.

    Args:
        settings: of the adapter grounding_dino.

    Raises:
        InputError: everything that is wrong with the two folders.
    """

    def __init__(self, settings: Mapping[str, Any]):
        self.settings = settings
        (detector, self.segmenter), problems = collected([self._open_detector, lambda: BoxMasks(settings["masks"])])
        if problems:
            raise InputError(problems)
        self._pretrained, self.network, (self.rule, rule_file), self.tokenizer = detector
        self._files = [rule_file, *tokenizer_files(self._pretrained.folder, "bert")]
        config = self._pretrained.config
        self.longest = min(config.max_text_len, config.text_config.max_position_embeddings)

    def fingerprint(self) -> str:
        """Hash of the weights and configs of both networks, the image rule and the tokenizer."""
        parts = self._pretrained.fingerprint(), contents_hash(self._files), self.segmenter.fingerprint()
        return " ".join(parts)

    @property
    def networks(self) -> list[Any]:
        """What `device.autocast` converts."""
        return [self.network, self.segmenter.network]

    def to(self, device: torch.device) -> None:
        """Moves both networks to a device."""
        self.network.to(device)
        self.segmenter.to(device)

    def problems(self, text: str) -> list[str]:
        """Why the expression cannot be read, one sentence per problem."""
        ids = self.tokenizer.encode(prepared(text)).ids
        return problems_of(text, ids, 3, self.longest, self._pretrained.config.model_type)  # two ends and a full stop

    def answers(self, image: np.ndarray, texts: Sequence[str]) -> Iterator[Answer]:
        """The instances of each sentence in a frame, uint8 [H, W, 3] RGB; scores are box score times predicted IoU."""
        size, pixels, features = image.shape[:2], self.rule.pixels(image), None
        for text in texts:
            boxes, scores = self.boxes(pixels, text, size)
            if not len(boxes):
                yield Answer([])
                continue
            features = features or self.segmenter.features(image)  # only of frames in which there is anything
            masks = self.segmenter.masks(features, boxes, size)
            found = [Instance(m, score * iou) for (m, iou), score in zip(masks, scores.tolist(), strict=True)]
            yield Answer(sorted((i for i in found if i.mask.any()), key=lambda i: -i.score))

    def boxes(self, pixels: Tensor, text: str, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The boxes of a sentence above the threshold, best first.

        Args:
            pixels: of the frame, [1, 3, h, w].
            text: the sentence.
            size: (H, W) of the frame.

        Returns:
            float32 [N, 4], (left, top, right, bottom) in pixels of the frame, and their scores [N], the largest
            probability over the words, both on the host.

        Source: https://github.com/IDEA-Research/GroundingDINO (inference.py).
        """
        place = next(self.network.parameters()).device
        ids = torch.tensor([self.tokenizer.encode(prepared(text)).ids], device=place)
        out = self.network(
            pixel_values=pixels.to(place),
            input_ids=ids,
            token_type_ids=torch.zeros_like(ids),
            attention_mask=torch.ones_like(ids),
        )
        scores, boxes = out.logits[0].float().sigmoid().amax(-1).cpu(), out.pred_boxes[0].float().cpu()
        if scores.isnan().any() or boxes.isnan().any():
            raise InputError(f"grounding_dino: its boxes are NaN at precision {self.settings['precision']}; take fp32")
        kept = (scores > self.settings["threshold"]).nonzero()[:, 0]
        kept = kept[scores[kept].argsort(descending=True, stable=True)][: self._most]
        centre, extent = boxes[kept].split(2, dim=1)
        corners = torch.cat([centre - extent / 2, centre + extent / 2], 1)
        return corners * torch.tensor([size[1], size[0]] * 2), scores[kept]

    @property
    def _most(self) -> int:
        """The number of boxes that become masks."""
        return 1 if self.settings["take"] == "best" else self.settings["most"]

    def _open_detector(self) -> tuple[Pretrained, Any, Any, Any]:
        """The folder, the network, the image rule with its file, and the tokenizer."""
        pretrained = open_pretrained(self.settings["weights"], DETECTORS)
        parts = [
            pretrained.network,
            lambda: read_rule(pretrained.folder),
            lambda: open_tokenizer(pretrained.folder, "bert", pretrained.config.text_config.vocab_size),
        ]
        (network, rule, tokenizer), problems = collected(parts)
        if tokenizer and (wrong := [t for t, n in SEPARATORS.items() if tokenizer.token_to_id(t) != n]):
            file = tokenizer_files(pretrained.folder, "bert")[0]
            found = tokenizer.token_to_id(wrong[0])
            problems.append(
                f"{file}: {wrong[0]!r} is number {found}, expected {SEPARATORS[wrong[0]]} as in bert-base-uncased, on "
                "which the network relies"
            )
        if problems:
            raise InputError(problems)
        return pretrained, network, rule, tokenizer


def prepared(text: str) -> str:
    """The sentence as GroundingDINO expects it: lower case, with a full stop at the end.

    >>> prepared(" A red Dog "), prepared("a cat. a dog.")
    ('a red dog.', 'a cat. a dog.')
    """
    text = text.strip().lower()
    return text if text.endswith(".") else f"{text}."
