"""The propagator SAM 3: its tracker, with key-frame masks as prompts. Its detector, which reads text, is not used.

Source: "SAM 3: Segment Anything with Concepts", arXiv 2511.16719; the network is `Sam3TrackerVideoModel` of
transformers, its inference is ours.
"""

from __future__ import annotations

from rvos_ensemble.propagators.inference.sam.propagator import SamPropagator


class SAM3(SamPropagator):
    """The tracker of SAM 3: needs `weights`, a folder in the Hugging Face layout."""

    kind = "sam3"
