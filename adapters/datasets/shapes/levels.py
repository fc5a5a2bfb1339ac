"""The benchmarks that `shapes` imitates, its splits and levels of difficulty, and its smallest frame size."""

BENCHMARKS = ("ref_youtube_vos", "mevis")
SPLITS, LEVELS = ("train", "val", "test"), ("easy", "medium", "hard")
SMALLEST = 48  # pixels a side
