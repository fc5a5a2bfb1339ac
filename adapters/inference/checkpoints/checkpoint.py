"""Opens a checkpoint of any network that an adapter or a step runs: recognises its family, and checks every weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference import families
from rvos_ensemble.adapters.inference.checkpoints import registry
from rvos_ensemble.adapters.inference.checkpoints.family import Checkpoint, Family
from rvos_ensemble.adapters.inference.checkpoints.weights import read_weights, stranger


def open_checkpoint(path: str | Path, family: str | type[Family] | None = None, expected: Any = None) -> Checkpoint:
    """Recognises and checks a file; only names and shapes are read.

    Args:
        path: of the file, in any layout that `read_weights` knows, or the name of weights of this package.
        family: the expected one, by name or as a class; None accepts any.
        expected: the variant of it, such as the name of a backbone; None accepts any.

    Raises:
        InputError: no file, a damaged one, another network or variant, or weights that are missing, unknown or of
            another shape; with the likely cause.
    """
    wanted = family() if isinstance(family, type) else family_of(family) if family else None
    known = registry.families(families)
    expects = wanted.expects if wanted else f"a checkpoint of {', '.join(n for n, f in known.items() if f.runs)}"
    weights = read_weights(path, expects)
    if wanted is not None:
        with wanted.named_errors(path):
            if wanted.recognises(weights):
                return wanted.check(weights, path, expected)
    recognised = registry.recognise(weights, known.values())
    if recognised is None:
        raise InputError(f"{path}: {stranger(weights)}, expected {expects}")
    if wanted is not None:
        use = f"`adapter: {recognised.name}`" if recognised.kind == "segmenter" else recognised.used_by
        raise InputError(f"{path}: holds weights of {recognised.name}, expected {wanted.name}; use {use} for it")
    return recognised.check(weights, path, expected)


def family_of(name: str) -> Family:
    """The family called `name`, see `registry.find_family`."""
    return registry.find_family(name, families)
