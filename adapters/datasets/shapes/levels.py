"""The splits and levels of difficulty of `shapes`, and its smallest frame size."""

SPLITS, LEVELS = ("train", "val", "test"), ("easy", "medium", "hard")
SMALLEST = 48  # pixels a side
