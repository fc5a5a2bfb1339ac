"""The grounding networks that can be trained by name, and their sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.grounding.description import Description
from rvos_ensemble.adapters.networks.grounding.grounding import Grounding
from rvos_ensemble.adapters.networks.grounding.visual import NARROW, visual_encoder
from rvos_ensemble.adapters.networks.pretrained.image_backbone import ImageBackbone
from rvos_ensemble.adapters.networks.pretrained.text_encoder import TextEncoder


@dataclass(frozen=True)
class GroundingVariant:
    """The sizes of a grounding network; the number of heads follows from the widths, see `heads_of`.

    Attributes:
        visual: one of `VISUAL`.
        channels, layers: of the Transformer; 0 layers leave it out.
        points: of the paths; 0 leaves them out.
        language: BERT or ROBERTA.
        words, text_layers, text_channels: of the language model; `words` is the size of its vocabulary.
        short_side: of the frames that the network sees, pixels.
        description: of encoders of transformers in place of our own, see `with_description`.
    """

    visual: str = "resnet101"
    channels: int = 768
    layers: int = 4
    points: int = 0
    language: text.Language = text.BERT
    words: int = 30522
    text_layers: int = 12
    text_channels: int = 768
    short_side: int = 360
    description: Description | None = None

    @property
    def text_encoder(self) -> TextEncoder | None:
        """The text encoder of transformers; None for one of ours, which has the sizes above."""
        return self.description and self.description.text

    @property
    def image_backbone(self) -> ImageBackbone | None:
        """The image backbone of transformers; None for one of ours, named `visual`."""
        return self.description and self.description.image

    @property
    def small(self) -> bool:
        """Whether its vocabulary is one of our own small ones, where a word is one token or unknown."""
        return self.text_encoder is None and self.words < 1000

    def network(self) -> Grounding:
        """A network of these sizes with random weights; those of encoders of transformers have no values yet."""
        if self.text_encoder:
            encoder = self.text_encoder.network()
        else:
            make = text.bert if self.language is text.BERT else text.roberta
            encoder = make(self.words, self.text_layers, hidden=self.text_channels)
        visual = self.image_backbone.network() if self.image_backbone else visual_encoder(self.visual)
        description = self.description and self.description.tensor()
        return Grounding(visual, encoder, self.channels, self.layers, self.points, description)

    def tokenizer(self, folder: str | None) -> str | None:
        """The folder of the tokenizer: `folder` if set, else ours for a small vocabulary, else None (Hugging Face)."""
        return str(self.language.small) if folder is None and self.small else folder

    def with_description(self, description: Description) -> GroundingVariant:
        """The variant whose encoders are those of a description, with the sizes that they have."""
        result = replace(self, short_side=description.short_side, description=description)
        if description.image:
            result = replace(result, visual="transformers")
        if description.text:
            words, channels = description.text.sizes
            language = description.text.language
            result = replace(result, language=language, words=words, text_layers=0, text_channels=channels)
        return result


VARIANTS = {
    "grounding": GroundingVariant(),  # as in the paper
    "grounding_nano": GroundingVariant(NARROW, 64, 2, 8, words=80, text_layers=2, text_channels=64, short_side=90),
}
VARIANTS["grounding_match_nano"] = replace(VARIANTS["grounding_nano"], layers=0)

# The matchers of judges: paths are necessary for expressions of motion.
JUDGES = {"judge": GroundingVariant(points=8), "judge_nano": VARIANTS["grounding_nano"]}
