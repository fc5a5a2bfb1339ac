"""Evaluation protocols, one file per benchmark, and the base classes of protocols of your own."""

from rvos_ensemble.ensemble.metrics.protocols.shared.mask_protocol import MaskProtocol
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol, Result

__all__ = ["MaskProtocol", "Protocol", "Result"]
