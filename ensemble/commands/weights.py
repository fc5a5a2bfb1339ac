"""The command `weights`: lists what is published, says what a file is, or exports the weights of a training.

    weights                                      the published checkpoints of every network family
    weights verify PATH [family=FILE.py]         what a file is, after comparing every name and shape
    weights export FILE NAME.safetensors [...]   the same, and writes it as fp16 safetensors

PATH is a file or a folder in the Hugging Face layout. `family` names a family, or the .py file of your own; without it,
the families of this package and those of installed ones are asked which of them recognises the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.inference.checkpoints import registry
from rvos_ensemble.adapters.inference.checkpoints.family import Checkpoint
from rvos_ensemble.adapters.inference.checkpoints.pretrained import open_pretrained
from rvos_ensemble.adapters.inference.checkpoints.weights import read_weights, stranger
from rvos_ensemble.adapters.inference.transformers_models import architectures
from rvos_ensemble.ensemble.commands.families import families, find_family

OPTION = "family="


def run(arguments: Sequence[str]) -> int:
    """Runs the command and returns its exit code.

    Raises:
        InputError: wrong arguments, or a file that is no checkpoint of a known network, with the reason.
    """
    if not arguments:
        print(table())
        return 0
    verb, *files = [a for a in arguments if not a.startswith(OPTION)]
    named = [a.removeprefix(OPTION) for a in arguments if a.startswith(OPTION)]
    if (verb, len(files)) not in (("verify", 1), ("export", 2)) or len(named) > 1:
        raise InputError(
            "weights takes nothing, `verify PATH` or `export FILE NAME.safetensors`, with `family=NAME|FILE.py` for "
            f"a network of your own, but the arguments are {' '.join(arguments)!r}"
        )
    if verb == "verify" and not named and (text := of_transformers(files[0])):
        print(text)
        return 0
    checkpoint = open_checkpoint(files[0], *named)
    if verb == "verify":
        print(checkpoint.describe(files[0]))
    else:
        written = checkpoint.export(files[1])
        print(f"{written}: {written.stat().st_size / 1e6:.1f} MB")
    return 0


def table() -> str:
    """All published checkpoints; families with the same heading share a table."""
    tables: dict[tuple[str, ...], list] = {}
    for family in families().values():
        if family.heading:
            tables.setdefault(family.heading, []).append(family)
    blocks = []
    for heading, members in tables.items():
        rows = [row for family in members for row in family.rows()]
        links = [line for family in members for line in family.links()]
        blocks.append("\n".join([*heading, *rows, *links]))
    return "\n\n".join(blocks)


def of_transformers(path: str) -> str | None:
    """What a folder is that an adapter of `transformers_models` takes, after comparing every weight; None: another.

    Raises:
        InputError: files are missing or damaged, or weights do not fit.
    """
    folder = user_path(path)
    known = architectures.adapter_of(folder)
    if known is None:
        return None
    adapter, networks = known
    pretrained = open_pretrained(folder, networks)
    count = sum(weight.numel() for weight in pretrained.network().parameters())
    return (
        f"{path}: {pretrained.architecture.name} of transformers, {count / 1e6:.1f} million weights, all of them fit; "
        f"sources.NAME.adapter={adapter} sources.NAME.weights={path}"
    )


def open_checkpoint(path: str, name: str | None = None) -> Checkpoint:
    """The checkpoint in a file or folder.

    Args:
        path: of the file or folder, or the name of weights of this package.
        name: of its family, or the .py file of one; None: the first family that recognises the weights.

    Raises:
        InputError: no such family, or the file does not hold one of its networks; with the reason.
    """
    if name is not None:
        return find_family(name).open(path)
    known, weights = families(), read_weights(path, folders=True)
    family = registry.recognise(weights, known.values())
    if family is None:
        names = ", ".join(name for name, f in known.items() if f.runs)
        raise InputError(f"{path}: {stranger(weights)}, expected a checkpoint of {names}; or name its `family=FILE.py`")
    return family.check(weights, path)
