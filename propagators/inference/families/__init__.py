"""One file per family of networks that propagate; see `adapters/inference/family.py`."""
