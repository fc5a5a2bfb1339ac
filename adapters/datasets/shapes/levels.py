"""The splits and levels of difficulty of `shapes`, and the smallest clips that it renders."""

SPLITS, LEVELS = ("train", "val", "test"), ("easy", "medium", "hard")
SMALLEST = 48  # pixels a side
