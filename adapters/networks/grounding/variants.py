"""The grounding networks that can be trained by name, and their sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.grounding.grounding import NARROW, Grounding


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

    @property
    def small(self) -> bool:
        """Whether its vocabulary is one of our own small ones, where a word is one token or unknown."""
        return self.words < 1000

    def network(self) -> Grounding:
        """A network of these sizes with random weights."""
        make = text.bert if self.language is text.BERT else text.roberta
        encoder = make(self.words, self.text_layers, hidden=self.text_channels)
        return Grounding(self.visual, encoder, self.channels, self.layers, self.points)

    def tokenizer(self, folder: str | None) -> str | None:
        """The folder of the tokenizer: `folder` if set, else ours for a small vocabulary, else None (Hugging Face)."""
        return str(self.language.small) if folder is None and self.small else folder


VARIANTS = {
    "grounding": GroundingVariant(),  # as in the paper
    "grounding_nano": GroundingVariant(NARROW, 64, 2, 8, words=80, text_layers=2, text_channels=64, short_side=90),
}
VARIANTS["grounding_match_nano"] = replace(VARIANTS["grounding_nano"], layers=0)

# The matchers of judges: paths are necessary for expressions of motion.
JUDGES = {"judge": GroundingVariant(points=8), "judge_nano": VARIANTS["grounding_nano"]}
