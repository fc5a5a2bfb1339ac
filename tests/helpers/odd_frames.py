"""The inputs of UNINEXT's golden masks at odd sizes: made from a seed, so that both sides get the same ones."""

import numpy as np

from rvos_ensemble.adapters.networks.uninext.dino import Sizes

SIZES_OF_FRAMES = ((200, 333), (161, 289))  # pixels (h, w); ConvNeXt pads them to 224 x 352 and 192 x 320
# The official network in small. With 100 queries no two cells have ratings that differ by rounding only, so that the
# order of the queries is certain.
SMALL = Sizes(queries=100, layers=2, encoder_layers=2)
BACKBONE = {"channels": (96, 192, 384, 768), "depths": (3, 3, 9, 3)}  # ConvNeXt-Tiny


def frame(size):
    """A frame of squares in random colours, uint8 [h, w, 3]."""
    h, w = size
    squares = np.random.RandomState(h).randint(0, 256, (h // 8 + 1, w // 8 + 1, 3)).astype(np.uint8)
    return np.kron(squares, np.ones((8, 8, 1), np.uint8))[:h, :w]


def words():
    """Hidden states of a sentence of 8 tokens, float32 [1, 8, 768]."""
    return np.random.RandomState(1).standard_normal((1, 8, 768)).astype(np.float32)
