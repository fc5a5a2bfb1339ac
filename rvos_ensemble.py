"""Ensemble and post-processing for referring video object segmentation.

    import rvos_ensemble as rv

Arrays in, arrays out: `rv.vote`, `rv.soft_average`, `rv.propagate`, `rv.j_and_f`. Files in, tables out: `rv.evaluate`,
`rv.run`. Base classes for components of your own: `rv.Adapter`, `rv.Propagator`, `rv.Step`, `rv.Dataset`,
`rv.Protocol`. docs/api.md describes all of them.

The folders beside this file are the parts of the package: `rvos_ensemble.adapters`, `.propagators`, `.ensemble`. An
installation holds this file as the `__init__.py` of its folder `rvos_ensemble`.

>>> import numpy as np, rvos_ensemble as rv
>>> a, b, c = np.array([[[1, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]]], bool)[0]
>>> rv.vote([a, b, c], threshold=2).astype(int).tolist()
[0, 1, 0, 0]
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

__path__ = [str(Path(__file__).resolve().parent)]

from rvos_ensemble import ensemble as _ensemble

if TYPE_CHECKING:
    from rvos_ensemble.ensemble import *  # noqa: F403

__all__ = _ensemble.__all__


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used; see `ensemble/__init__.py`."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(_ensemble, name)
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "adapters", "ensemble", "propagators", *(n for n in globals() if n.startswith("__"))])
