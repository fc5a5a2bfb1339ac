"""Segmenters and detectors of transformers: what they read of a folder, their inputs and their outputs."""
