"""The saved state of a training run, from which it is resumed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import torch

from rvos_ensemble.adapters.core.errors import InputError

KEYS = {"step", "seconds", "settings", "state_dict", "averages", "optimizer", "scaler", "log"}  # of a saved state


def read(path: Path) -> dict[str, Any]:
    """Reads a saved state; PyTorch itself does not verify the checksums in the file.

    Raises:
        InputError: the file is damaged, or it is not the state of a training run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise ValueError(f"wrong checksum of {damaged}")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if missing := KEYS - state.keys():
            raise ValueError(f"without {', '.join(sorted(missing))}")
        json.loads(state["log"]), json.loads(state["settings"]).items()
        return state
    except Exception as error:  # a damaged file can raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not the state of a training run, or a damaged one ({reason}); delete it") from None
