"""The propagator DeAOT, which propagates visual and identity features in separate branches.

Source: Yang and Yang, NeurIPS 2022; https://github.com/yoxu515/aot-benchmark has checkpoints for the setting `weights`.
"""

from __future__ import annotations

from rvos_ensemble.propagators.inference.aot.propagator import VOSPropagator


class DeAOT(VOSPropagator):
    """DeAOT-T/S/B/L, R50-, SwinB-, SwinL-DeAOTL: needs `weights`, a checkpoint of the official code."""

    family = "deaot"
