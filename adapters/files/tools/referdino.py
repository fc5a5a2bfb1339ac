"""ReferDINO's queries, one npz per video: `video_path`, `size` (H, W), and for each expression a pickled dictionary.

{"scores": [T, Q] probabilities, "boxes": [T, Q, 4], "masks": [T, Q, h, w] logits}; the boxes are not read. A query that
is found often enough is an instance of the expression, and the mask of the expression is their union.

Source: refine_from_refdino.py of iSEE-Laboratory/ReferDINO-Plus; ReferDINO-Plus, arXiv 2503.23509.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import Stamp, file_hash, file_stamp
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence, PackedMasks
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.files.readers.npz import array_header, open_npz, pickled_bytes, read_array
from rvos_ensemble.adapters.files.readers.reader import Reader
from rvos_ensemble.adapters.files.storage import Folder
from rvos_ensemble.adapters.files.tools.numpy_pickle import unpickle_dict

THRESHOLD = 0.275  # of a query's score; ReferDINO-Plus
VIDEO, SIZE = "video_path", "size"  # the entries that are not expressions
MOST_BYTES = 1 << 31  # of an expression
LONGEST_PATH = 1 << 16  # bytes


def is_referdino(path: str) -> bool:
    """Whether an npz has the entries of ReferDINO.

    Raises:
        InputError: not a zip, or a damaged one.
    """
    return {f"{VIDEO}.npy", f"{SIZE}.npy"} <= open_npz(path).members.keys()


def referdino_files(path: str) -> tuple[str, ...]:
    """The files of ReferDINO at a path: a file, or the npz at the top of a folder; none if they are something else.

    Raises:
        InputError: a file is not a zip, or a damaged one; or only some of the files are of ReferDINO.
    """
    folder = Folder(path)
    names = [folder.where(f) for f in folder.entries("")[1] if f.endswith(".npz")] or [path]
    if not names[0].endswith(".npz") or not is_referdino(names[0]):
        return ()
    if others := [name for name in names if not is_referdino(name)]:
        raise InputError(f"{others[0]}: no entries `{VIDEO}` and `{SIZE}`, which {names[0]} beside it has")
    return tuple(names)


@dataclass(frozen=True)
class ReferDino(Reader):
    """Reads ReferDINO's npz; the masks of an expression are the union of its queries.

    Attributes:
        paths: a file for each video.
        threshold: see `kept_queries`.
    """

    paths: tuple[str, ...]
    threshold: float = THRESHOLD

    def expressions(self, clip: Clip) -> list[str] | None:
        """Ids of the expressions of the clip in its file, None if the video has no file."""
        path = self._videos().get(clip.name)
        if path is None:
            return None
        return [n.removesuffix(".npy") for n in open_npz(path).members if n not in (f"{VIDEO}.npy", f"{SIZE}.npy")]

    def sequence(self, clip: Clip, expression: Expression) -> MaskSequence:
        """The union of the queries, lazily; presence 0 if the expression has none, else 1.

        The score of a frame is the highest of its queries, or of all queries if none is kept.
        """
        path, scores, kept = self._kept(clip, expression)
        read = _QueryReader(path, expression.id, tuple(kept), tuple(clip.size))
        masks = LazyMasks((len(clip), *clip.size), np.dtype(bool), read)
        of_frames = (scores[:, kept] if kept else scores).max(axis=1, initial=0).astype(np.float32)
        return MaskSequence(masks, scores=of_frames, presence=float(bool(kept)))

    def queries(self, clip: Clip, expression: Expression) -> dict[str, MaskSequence]:
        """{number of the query: its masks} of an expression, each with its best frame as the note `key_frame`."""
        path, scores, kept = self._kept(clip, expression)
        instances = {}
        for q in kept:
            read = _QueryReader(path, expression.id, (q,), tuple(clip.size))
            masks = LazyMasks((len(clip), *clip.size), np.dtype(bool), read)
            key_frame, of_frames = int(scores[:, q].argmax()), scores[:, q].astype(np.float32)
            instances[str(q)] = MaskSequence(masks, scores=of_frames, notes={"key_frame": key_frame}, presence=1.0)
        return instances

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the clip's file."""
        path = self._videos().get(clip.name)
        return file_hash(file_stamp(path)) if path else ""

    def videos(self) -> list[str]:
        """Names of the videos of the files."""
        return list(self._videos())

    def size(self, video: str) -> tuple[int, int] | None:
        """(H, W) of the masks of a video."""
        path = self._videos().get(video)
        return None if path is None else tuple(_size(path))

    def contents(self) -> str:
        """The videos of the files, in words."""
        return f"files of ReferDINO, of the videos {first_few(self._videos())}"

    def _kept(self, clip: Clip, expression: Expression) -> tuple[str, np.ndarray, list[int]]:
        """The file of the clip, the scores [T, Q], and the numbers of the queries that are kept."""
        path = self._videos()[clip.name]
        _check_size(path, clip)
        scores = _scores(file_stamp(path), expression.id)
        if len(scores) != len(clip):
            where = f"{path}: {expression.id}"
            raise InputError(f"{where}: scores of {len(scores)} frames, expected {len(clip)}, those of the clip")
        return path, scores, np.flatnonzero(kept_queries(scores, self.threshold)).tolist()

    def _videos(self) -> dict[str, str]:
        return _videos(tuple(map(file_stamp, self.paths)))


def kept_queries(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Which queries are instances: those whose mean score, over the frames where it exceeds the threshold, exceeds it.

    Args:
        scores: float32 [T, Q].
        threshold: as above.

    Returns:
        bool [Q].

    >>> kept_queries(np.float32([[0.9, 0.2, 0.28], [0.1, 0.1, 0.27]]), 0.275).tolist()
    [True, False, True]
    """
    valid = scores > threshold
    mean = (scores * valid).sum(axis=0) / (valid.sum(axis=0, dtype=np.float32) + np.float32(1e-6))
    return mean > threshold


@lru_cache(maxsize=16)
def _videos(stamps: tuple[Stamp, ...]) -> dict[str, str]:
    """{video: its file}, by the last part of `video_path`."""
    videos: dict[str, str] = {}
    for path, *_ in stamps:
        head = array_header(path, VIDEO)
        if head.dtype.kind != "U" or head.shape != () or head.dtype.itemsize > LONGEST_PATH:
            raise InputError(f"{path}: {VIDEO}: an array of {head.dtype} {shown(head.shape)}, expected one text")
        video = str(read_array(path, VIDEO)).rstrip("/").rsplit("/")[-1]
        if video in videos:
            raise InputError(f"video {video!r} is in more than one file: {videos[video]}, {path}")
        videos[video] = path
    return videos


def _size(path: str) -> list[int]:
    """[H, W] of the masks of a file."""
    head = array_header(path, SIZE)
    if head.shape != (2,) or head.dtype.kind not in "iu":
        raise InputError(f"{path}: {SIZE}: an array of {head.dtype} {shown(head.shape)}, expected [H, W]")
    return read_array(path, SIZE).tolist()


def _check_size(path: str, clip: Clip) -> None:
    size = _size(path)
    if size != list(clip.size):
        raise InputError(f"{path}: size {size}, expected the clip's {list(clip.size)} ([H, W])")


@lru_cache(maxsize=1024)
def _scores(stamp: Stamp, expression: str) -> np.ndarray:
    return _load(stamp, expression)[0].copy()  # a copy, so that the masks are not kept


@lru_cache(maxsize=1)
def _load(stamp: Stamp, expression: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores, float32 [T, Q], and logits, float [T, Q, h, w], of an expression; its queries are read one by one.

    Raises:
        InputError: another content, or other shapes.
    """
    where = f"{stamp[0]}: {expression}"
    entry = unpickle_dict(pickled_bytes(stamp[0], expression, MOST_BYTES), where)
    arrays = {name: entry.get(name) for name in ("scores", "masks")}
    for name, dimensions in (("scores", 2), ("masks", 4)):
        array = arrays[name]
        if not isinstance(array, np.ndarray) or array.ndim != dimensions or array.dtype.kind != "f":
            found = f"{array.dtype} {shown(array.shape)}" if isinstance(array, np.ndarray) else shown(array)
            shape = "[T, Q]" if name == "scores" else "[T, Q, h, w]"
            raise InputError(f"{where}: its `{name}` are {found}, expected floats {shape}; it has {first_few(entry)}")
    scores, masks = arrays["scores"].astype(np.float32), arrays["masks"]
    if masks.shape[:2] != scores.shape or (scores.size and not masks.size):
        raise InputError(f"{where}: masks of shape {shown(masks.shape)}, scores of shape {shown(scores.shape)}")
    if not np.isfinite(scores).all():
        raise InputError(f"{where}: not all scores are numbers")
    return scores, masks


class _QueryReader:
    """Reads frame t of the union of some queries; the first call reads all frames, which are kept packed."""

    def __init__(self, path: str, expression: str, queries: tuple[int, ...], size: tuple[int, int]):
        self.key = (path, expression, queries, size)
        self.masks: PackedMasks | None = None

    def __call__(self, t: int) -> np.ndarray:
        path, expression, queries, size = self.key
        if not queries:
            return np.zeros(size, bool)
        if self.masks is None:
            logits = _load(file_stamp(path), expression)[1]
            where = f"{path}: {expression}"
            self.masks = PackedMasks.pack(_union(frame[list(queries)], size, where) for frame in logits)
        return self.masks[t]

    def __reduce__(self):  # pickled without its masks
        return _QueryReader, self.key


def _union(logits: np.ndarray, size: tuple[int, int], where: str) -> np.ndarray:
    """Where the logits of any query, resized as in the official script, are above 0.

    Args:
        logits: float [K, h, w]; resized as float32, whatever their dtype.
        size: (H, W).
        where: file name and entry, for messages.
    """
    import torch  # here, because files of other formats do not need it

    logits = np.ascontiguousarray(logits, np.float32)
    if np.isnan(logits).any():
        raise InputError(f"{where}: not all logits are numbers")
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None], size=size, mode="bilinear", align_corners=False
    )
    return (resized[0] > 0).any(dim=0).numpy()
