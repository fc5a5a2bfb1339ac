"""Small language models that nobody has pre-trained, ready to be trained with the network that asks them."""

from __future__ import annotations

from torch import nn

SLOWLY = 0.1  # learning rate of a small language model, relative: at the full one all sentences become the same


def spread_words(model: nn.Module) -> nn.Module:
    """Draws the weights of BERT or RoBERTa so that from the first step on its states tell which words there are: the
    published deviation of 0.02 is made for 768 channels."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    for embedding, deviation in ((model.embeddings.word_embeddings, 1.0), (model.embeddings.position_embeddings, 0.2)):
        nn.init.normal_(embedding.weight, std=deviation)
    return model
