"""The propagator EdgeTAM, a SAM 2 for phones: a small image encoder and memories of 512 tokens instead of 4096.

Source: Zhou et al., "EdgeTAM: On-Device Track Anything Model", CVPR 2025, arXiv 2501.07256; the network is
`EdgeTamVideoModel` of transformers, its inference is ours.
"""

from __future__ import annotations

from rvos_ensemble.propagators.inference.sam.propagator import SamPropagator


class EdgeTAM(SamPropagator):
    """EdgeTAM, a small and fast SAM 2: needs `weights`, a folder in the Hugging Face layout."""

    kind = "edgetam"
