"""One file per family of networks that propagate; see `adapters/inference/checkpoints/family.py`."""
