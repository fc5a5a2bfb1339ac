"""Where results lie: the store of intermediate ones, and the folder of a run."""
