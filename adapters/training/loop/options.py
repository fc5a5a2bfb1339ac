"""Settings that trainings have in common, beside those of the loop."""

from __future__ import annotations

from dataclasses import replace

from rvos_ensemble.adapters.core.settings import choice, listed, number, text, whole
from rvos_ensemble.adapters.datasets.shapes.levels import LEVELS

DATA = text("shapes")  # rendered on the fly; or a folder
LEVEL = choice(None, *LEVELS)  # of `shapes`; None: all
FILE = text(None, what="a file, or the name of weights that come with the package")
FRAMES = whole(least=1, most=10_000)  # of a clip
CLIPS = whole(12, most=10_000)  # of validation
SENTENCES = whole(least=1, most=1000)  # of a clip
SIZE = listed(whole(least=32, most=4096), least=2, most=2, what="[height, width] of 32 to 4096 pixels each")
SHARE = number(least=0, most=1)
RATE = number(None, least=0, most=1e3)  # learning rate of a part, relative to the highest
WEIGHT = number(least=0, most=1e6)  # of a loss
TEXT_LAYERS = whole(2, least=1, most=48)
# attention heads divide it, see `adapters.networks.text`
TEXT_WIDTH = choice(64, *(w for w in (*range(4, 257, 4), *range(320, 1025, 64)) if w != 64))
TEXT_WIDTH = replace(TEXT_WIDTH, expected="a multiple of 4 up to 256, or of 64 up to 1024")
