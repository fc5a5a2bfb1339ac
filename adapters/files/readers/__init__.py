"""The readers of masks, one per format; which one reads a path says `adapters/files/formats.py`."""
