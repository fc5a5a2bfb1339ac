"""What all files of torch.save have in common: checksums, which torch itself does not verify, and plain tensors."""

from __future__ import annotations

import zipfile
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import Stamp
from rvos_ensemble.adapters.files.storage import zip_file

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 1 << 20


def is_packed(path: str) -> bool:
    """Whether a file is a zip, as torch writes since 1.6; such a file can be read in parts."""
    try:
        return zipfile.is_zipfile(path)
    except Exception:  # a damaged end record; torch.load reports what is wrong
        return False


@lru_cache(maxsize=256)
def verify_checksums(stamp: Stamp) -> None:
    """Compares every part of a packed file with its checksum, once per process.

    Nothing else would notice a flipped bit in a tensor: it is just another number.

    Raises:
        InputError: a part has a wrong checksum, is compressed (torch never does that), or occurs twice.
    """
    path = stamp[0]
    try:
        opened = zip_file(path)
    except InputError as error:
        raise InputError(f"{path}: damaged, or cut short: {str(error).removeprefix(f'{path}: ')}") from error
    with opened as archive:
        parts = archive.infolist()
        if len({part.filename for part in parts}) < len(parts):
            raise InputError(f"{path}: damaged: one of its parts occurs twice")
        if packed := [part.filename for part in parts if part.compress_type != zipfile.ZIP_STORED]:
            raise InputError(f"{path}: {packed[0]} in it is compressed, which torch.save never does; save it again")
        if not any(part.CRC for part in parts):  # torch.serialization.set_crc32_options(False)
            return
        for part in parts:
            try:
                with archive.open(part) as file:
                    while file.read(BLOCK):
                        pass
            except Exception as error:  # BadZipFile, or anything if the directory is damaged
                raise InputError(f"{path}: damaged: {error}; copy or download it again") from error


def dense(value: Any) -> Tensor | None:
    """A tensor as plain numbers in memory, without gradient; None for anything else.

    Refused are sparse, quantised and nested tensors, tensors on another device, and subclasses.
    """
    import torch  # here, because files of other formats do not need it

    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        return None
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_nested or value.is_quantized:
        return None
    return value.detach().resolve_conj().resolve_neg()


def reason(error: Exception) -> str:
    """Why something failed, in one short line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
