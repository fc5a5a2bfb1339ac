"""Initialises a network with parts of another network's weights."""

from __future__ import annotations

from torch import nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints import weights
from rvos_ensemble.adapters.training.norms import without_counts

PARTS = ("backbone.", "text_encoder.")  # prefixes of ReferFormer, MUTR and SOC


def load_parts(network: nn.Module, path: str, parts: tuple[str, ...] = PARTS) -> None:
    """Loads every weight of a file that has the name and shape of a weight of the network.

    Args:
        network: the network whose weights are overwritten.
        path: the file.
        parts: prefixes of names; if the file contains weights with one of these prefixes, all of them must fit.

    Raises:
        InputError: the file contains none of the parts, or one that does not fit.
    """
    shapes = {k: tuple(v.shape) for k, v in without_counts(network.state_dict()).items()}
    content = weights.read_weights(path, "parts of a network")
    present = tuple(part for part in parts if any(k.startswith(part) for k in content))
    if not present:
        names = " nor ".join(f"`{part}*`" for part in parts)
        raise InputError(f"{path}: has neither {names}, such as {min(content, default='nothing')}; use another file")
    kept = {k: v for k, v in content.items() if k.startswith(present) or shapes.get(k) == tuple(v.shape)}
    expected = {k: shape for k, shape in shapes.items() if k.startswith(present) or k in kept}
    if problems := weights.mismatches(kept, expected):
        raise InputError([f"{path}: {problem}" for problem in problems])
    network.load_state_dict(kept, strict=False)
