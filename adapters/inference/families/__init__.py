"""One file per family of networks that segment, ground or encode; see `adapters/inference/checkpoints/family.py`."""
