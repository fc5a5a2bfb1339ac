"""Propagation in several rounds: the loop, and the rules that say what the next round of a task starts from."""
