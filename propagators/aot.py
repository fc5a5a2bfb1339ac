"""The propagator AOT, "Associating Objects with Transformers".

Source: Yang et al., NeurIPS 2021; https://github.com/yoxu515/aot-benchmark has checkpoints for the setting `weights`.
"""

from __future__ import annotations

from rvos_ensemble.propagators.inference.aot.propagator import VOSPropagator


class AOT(VOSPropagator):
    """AOT-T/S/B/L, R50-, R101-, SwinB-, SwinL-AOTL: needs `weights`, a checkpoint of the official code."""

    family = "aot"
