"""Ensemble and post-processing for referring video object segmentation.

The folders beside this file are the parts of the package: `rvos_ensemble.adapters`, `.propagators`, `.ensemble`. An
installation holds this file as the `__init__.py` of its folder `rvos_ensemble`.
"""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parent)]
