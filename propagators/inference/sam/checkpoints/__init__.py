"""Weights of SAM 2, EdgeTAM and SAM 3: folders in the Hugging Face layout, and files of the official SAM 2 code."""
