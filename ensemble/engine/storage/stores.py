"""Where the store of intermediate results is: a folder, or a URL such as s3://bucket/folder, through fsspec.

Behind a URL, the layout and the entries are those of a folder. Object stores write an object completely or not at all;
elsewhere an entry that is only half written does not match its checksum, and counts as absent. No lock is needed:
whoever writes an entry with the same key writes the same result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.ensemble.engine.storage.folders import KINDS, MAGIC, MARK, shared
from rvos_ensemble.ensemble.engine.storage.store import DamagedEntry, Store, decode, encode


class AnyStore(Protocol):
    """What a store can do, wherever it is; see `Store`."""

    def save(self, clip: str, step: str, key: str, prediction: Prediction) -> None:
        """Writes a prediction."""

    def load(self, clip: str, step: str, key: str) -> Prediction | None:
        """The prediction with that key; None where there is none, or its entry is damaged."""


def open_store(place: Path | str) -> AnyStore:
    """The store in a folder, or behind a URL, which is a text."""
    return UrlStore(place) if isinstance(place, str) else Store(place)


@contextlib.contextmanager
def in_use(place: Path | str) -> Iterator[None]:
    """Makes a store ready for use, while other runs, also of other machines, may use it.

    Raises:
        InputError: it cannot be used, or is something else.
    """
    if isinstance(place, str):
        UrlStore(place).prepare()
        yield
        return
    with shared(place):
        yield


@dataclass(frozen=True)
class UrlStore:
    """Entries `URL/CLIP/STEP-KEY.masks`."""

    url: str

    def prepare(self) -> None:
        """Marks a new place as a store.

        Raises:
            InputError: it cannot be read or written, or holds something else.
        """
        try:
            files, root = file_system(self.url)
            mark = f"{root}/{MARK}"
            try:
                found = files.cat_file(mark)
            except FileNotFoundError:
                if _names(files, root):
                    raise InputError(
                        f"{self.url}: not empty, and not an earlier {KINDS['store']} (without {MARK}, which we leave "
                        "in ours); nothing in it was touched: give another URL"
                    ) from None
                found = f"{MAGIC} {KINDS['store']}\n".encode()
                _write(files, mark, found)
        except InputError:
            raise
        except ImportError as error:
            raise InputError(f"{self.url}: {error}; pip install 'rvos-ensemble[remote]'") from None
        except Exception as error:  # libraries of object stores have exceptions of their own
            raise InputError(
                f"{self.url}: cannot be used as a store: {_text(error)}; check the URL, and credentials and endpoint "
                "in the environment"
            ) from error
        if not found.startswith(f"{MAGIC} {KINDS['store']}".encode()):
            raise InputError(f"{self.url}: the folder of something else, expected a {KINDS['store']}; give another URL")

    def save(self, clip: str, step: str, key: str, prediction: Prediction) -> None:
        """See `Store.save`.

        Raises:
            OSError: it cannot be written.
        """
        with _errors_name(self.url):
            files, root = file_system(self.url)
            _write(files, f"{root}/{clip}/{step}-{key}.masks", encode(prediction))

    def load(self, clip: str, step: str, key: str) -> Prediction | None:
        """See `Store.load`. An entry is missing only where the server says so.

        Raises:
            OSError: the server cannot be reached, or refuses to answer.
        """
        with _errors_name(self.url):
            files, root = file_system(self.url)
            names = [name for name in _names(files, f"{root}/{clip}") if name.endswith(f"-{key}.masks")]
            for name in names:  # several only where users named a step differently: all are the same
                with contextlib.suppress(FileNotFoundError, DamagedEntry):
                    return decode(files.cat_file(name))
        return None


@lru_cache(maxsize=8)
def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path on it.

    Raises:
        ImportError: the package for it is not installed.
        ValueError: no file system has that protocol.
    """
    import fsspec  # comes with torch; slow to import

    files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)  # other machines write at the same time
    return files, root.rstrip("/")


def _names(files: Any, folder: str) -> list[str]:
    """Paths of what is directly in a folder; none where it does not exist."""
    try:
        return [name for name in files.ls(folder, detail=False) if name.strip("/") != folder.strip("/")]
    except FileNotFoundError:
        return []


def _write(files: Any, path: str, data: bytes) -> None:
    try:
        files.pipe_file(path, data)
    except FileNotFoundError:  # where folders must exist, unlike in an object store
        if not files.exists(path[: path.find("/", 1)]):  # a bucket is the user's to make
            raise
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        files.pipe_file(path, data)


@contextlib.contextmanager
def _errors_name(url: str) -> Iterator[None]:
    """Every exception becomes an OSError with the URL: those of the libraries are of many kinds."""
    try:
        yield
    except Exception as error:
        raise OSError(f"{url}: {_text(error)}") from error


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
