"""The propagator SAM 2, "SAM 2: Segment Anything in Images and Videos", with key-frame masks as prompts.

Source: Ravi et al., arXiv 2408.00714; the network is `Sam2VideoModel` of transformers, its inference is ours.
"""

from __future__ import annotations

from rvos_ensemble.propagators.inference.sam.propagator import SamPropagator


class SAM2(SamPropagator):
    """SAM 2 and SAM 2.1, all sizes: needs `weights`, a folder in the Hugging Face layout or an official checkpoint."""

    kind = "sam2"
