"""Batch normalisation: the published encoders freeze it; training from scratch must not."""

from __future__ import annotations

from torch import Tensor, nn

from rvos_ensemble.adapters.networks.layers import FrozenBatchNorm2d


def unfreeze_norms(module: nn.Module) -> None:
    """Replaces every frozen batch norm by a trainable one with the same weights under the same names."""
    for name, child in module.named_children():
        if isinstance(child, FrozenBatchNorm2d):
            norm = nn.BatchNorm2d(len(child.weight), eps=child.eps)
            norm.load_state_dict(child.state_dict(), strict=False)  # the frozen norm has no count of batches
            setattr(module, name, norm)
        else:
            unfreeze_norms(child)


def without_counts(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state without the batch counters, which frozen batch norms do not have."""
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
