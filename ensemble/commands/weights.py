"""The command `weights`: published checkpoints; what a file is; a training's weights as those that are shipped."""

from __future__ import annotations

from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    """Prints the published checkpoints, or what a file is; or writes a training's weights as those that are shipped."""
    from rvos_ensemble.adapters.core.errors import InputError
    from rvos_ensemble.adapters.inference import published as models
    from rvos_ensemble.adapters.inference.weights import read_weights
    from rvos_ensemble.adapters.training.loop import export as of_models
    from rvos_ensemble.propagators.inference import published as movers
    from rvos_ensemble.propagators.training import export as of_movers

    if not arguments:
        print(f"{models.table()}\n\n{movers.table()}")
        return 0
    verb, *files = arguments
    if (verb, len(files)) not in (("verify", 1), ("export", 2)):
        found = " ".join(arguments)
        raise InputError(f"weights takes nothing, `verify FILE` or `export FILE NAME.safetensors`, found {found!r}")
    moves = any(name.startswith("LSTT.") for name in read_weights(files[0]))
    if verb == "verify":
        print((movers if moves else models).verify(files[0]))
    else:
        written = (of_movers if moves else of_models.export)(*files)
        print(f"{written}: {written.stat().st_size / 1e6:.1f} MB")
    return 0
