"""SAM 3's detector: all instances of what a phrase names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import contents_hash
from rvos_ensemble.adapters.inference.checkpoints.pretrained import open_pretrained
from rvos_ensemble.adapters.inference.transformers_models.adapter import collected
from rvos_ensemble.adapters.inference.transformers_models.architectures import CONCEPTS
from rvos_ensemble.adapters.inference.transformers_models.inputs.images import HALF, square
from rvos_ensemble.adapters.inference.transformers_models.inputs.tokens import (
    SPECIAL,
    open_tokenizer,
    padded,
    problems_of,
    tokenizer_files,
)
from rvos_ensemble.adapters.inference.transformers_models.outputs.answer import Answer, Instance
from rvos_ensemble.adapters.inference.transformers_models.outputs.instances import resized


class Concepts:
    """SAM 3's detector and its tokenizer.

    Args:
        settings: of the adapter sam3.

    Raises:
        InputError: everything that is wrong with the folder.
    """

    def __init__(self, settings: Mapping[str, Any]):
        self.settings = settings
        pretrained = open_pretrained(settings["weights"], [CONCEPTS])
        words = pretrained.config.text_config
        (self.network, self.tokenizer), problems = collected(
            [pretrained.network, lambda: open_tokenizer(pretrained.folder, "clip", words.vocab_size)]
        )
        if problems:
            raise InputError(problems)
        self.side, self.longest = pretrained.config.image_size, words.max_position_embeddings
        self._pretrained = pretrained

    def fingerprint(self) -> str:
        """Hash of the weights, the config and the tokenizer."""
        files = tokenizer_files(self._pretrained.folder, "clip")
        return f"{self._pretrained.fingerprint()} {contents_hash(files)}"

    @property
    def networks(self) -> list[Any]:
        """What `device.autocast` converts."""
        return [self.network]

    def to(self, device: torch.device) -> None:
        """Moves the network to a device."""
        self.network.to(device)

    def problems(self, text: str) -> list[str]:
        """Why the expression cannot be read, one sentence per problem."""
        return problems_of(text, self.tokenizer.encode(text).ids, 2, self.longest, "SAM 3")

    def answers(self, image: np.ndarray, texts: Sequence[str]) -> Iterator[Answer]:
        """The instances of each phrase in a frame, uint8 [H, W, 3] RGB, which is encoded once for all phrases.

        A score is the probability of the instance times that of the presence of any.
        """
        place = next(self.network.parameters()).device
        vision = self.network.get_vision_features(pixel_values=square(image, self.side, *HALF).to(place))
        for text in texts:
            ids = self.tokenizer.encode(text).ids
            mask = torch.tensor([padded([1] * len(ids), self.longest, 0)], device=place)
            ids = torch.tensor(
                [padded(ids, self.longest, self.tokenizer.token_to_id(SPECIAL["clip"][1]))], device=place
            )
            out = self.network(vision_embeds=vision, input_ids=ids, attention_mask=mask)
            yield self._answer(out, image.shape[:2])

    def _answer(self, out: Any, size: tuple[int, int]) -> Answer:
        """The instances above the threshold, best first.

        Args:
            out: of the network, for one frame and phrase.
            size: (H, W) of the frame.
        """
        presence = float(out.presence_logits[0, 0].float().sigmoid())
        scores = (out.pred_logits[0].float().sigmoid() * presence).cpu()
        if scores.isnan().any() or out.pred_masks.isnan().any():
            raise InputError(f"sam3: its masks are NaN at precision {self.settings['precision']}; take bf16 or fp32")
        kept = (scores > self.settings["threshold"]).nonzero()[:, 0]
        kept = kept[scores[kept].argsort(descending=True, stable=True)][: self.settings["most"]]
        masks = [(resized(out.pred_masks[0, i].float().sigmoid(), size) > 0.5).cpu().numpy() for i in kept]
        found = [Instance(mask, float(scores[i])) for mask, i in zip(masks, kept, strict=True) if mask.any()]
        return Answer(found, presence)
