"""Starting from parts of another network."""

from __future__ import annotations

from torch import nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference import weights
from rvos_ensemble.adapters.training.norms import without_counts

PARTS = ("backbone.", "text_encoder.")  # as ReferFormer, MUTR and SOC call them


def load_parts(network: nn.Module, path: str, parts: tuple[str, ...] = PARTS) -> None:
    """Loads what a file and a network have in common: whatever has name and shape.

    Args:
        network: whose weights are overwritten.
        path: of the file.
        parts: beginnings of names; of a part that the file has, all must fit.

    Raises:
        InputError: the file has none of the parts, or one that does not fit.
    """
    own = {k: tuple(v.shape) for k, v in without_counts(network.state_dict()).items()}
    found = weights.read_weights(path, "parts of a network")
    held = tuple(part for part in parts if any(k.startswith(part) for k in found))
    if not held:
        names = " nor ".join(f"`{part}*`" for part in parts)
        raise InputError(f"{path}: has neither {names}, such as {min(found, default='nothing')}; give another file")
    found = {k: v for k, v in found.items() if k.startswith(held) or own.get(k) == tuple(v.shape)}
    expected = {k: shape for k, shape in own.items() if k.startswith(held) or k in found}
    if problems := weights.mismatches(found, expected):
        raise InputError([f"{path}: {problem}" for problem in problems])
    network.load_state_dict(found, strict=False)
