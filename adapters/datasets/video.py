"""A video file of the user, with the user's own expressions."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import cv2
import numpy as np

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import name_problem, user_path, write_file
from rvos_ensemble.adapters.core.io.hashing import digest, file_hash, file_stamp
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.settings import path, switch, text, texts, whole
from rvos_ensemble.adapters.datasets import Dataset
from rvos_ensemble.adapters.datasets.atomic_folder import AtomicFolder, files_in, tidy
from rvos_ensemble.adapters.datasets.image_files import ImageFiles
from rvos_ensemble.adapters.datasets.meta import natural, parse
from rvos_ensemble.adapters.datasets.video_frames import VideoFrames

QUALITY = 95  # of the JPEG frames, as in benchmarks
STAMP = "frames.json"
FRAME = re.compile(r"\d{5,}\.jpg")
ENTRY = re.compile(r".+_[0-9a-f]{16}")
NAME = 100  # bytes of the video's name that become part of the name of the folder of frames


class Video(Dataset):
    """A video file of your own (mp4, avi, mov, ...), with your own sentences.

    Its frames are extracted once, into `cache/NAME_HASH`, because the parts of a recipe read them in different orders.

    Settings:
        video: the file.
        expressions: a list of sentences.
        every: uses every n-th frame; 5 turns 30 frames per second into 6, as in Ref-YouTube-VOS.
        cache: folder for the frames.
        partial: uses the readable frames of a truncated or damaged video, which is refused otherwise.
    """

    defaults = {
        "video": path(),
        "expressions": texts(what="a list of sentences, none of them empty"),
        "every": whole(1, least=1),
        "cache": text(".cache/video"),
        "partial": switch(False),
    }

    def prepare(self) -> None:
        """Extracts the frames, all or none; again if a frame was removed or altered since.

        Raises:
            InputError: no such file, one that OpenCV cannot read to its end, or a cache that cannot be written.
        """
        self._parsed(["0"])
        folder = self._folder()
        tidy(folder.root.parent, ENTRY)
        folder.make(self._extract)

    def clips(self) -> list[Clip]:
        """The video as one clip, named after its file."""
        self.prepare()
        root = self._folder().root
        files = tuple(root / name for name in sorted(filter(self._is_own, files_in(root)), key=natural))
        frames, expressions = self._parsed([file.stem for file in files])
        return [Clip(user_path(self.settings.video).stem, frames, expressions, ImageFiles(files))]

    def _parsed(self, frames: list[str]) -> tuple[tuple[str, ...], tuple[Expression, ...]]:
        setting = self.settings.expressions
        texts = setting if isinstance(setting, (list, tuple)) else [setting]
        entry = {"frames": frames, "expressions": {str(i): {"exp": text} for i, text in enumerate(texts)}}
        return parse(user_path(self.settings.video).stem, entry, "data.expressions")

    def _folder(self) -> AtomicFolder:
        path = user_path(self.settings.video)
        if problem := name_problem(path.stem, "video"):
            raise InputError(f"{shown(str(path))}: {problem}")
        if not os.path.isfile(path):
            raise InputError(f"{path}: no such file, given as `video`")
        try:
            content = file_hash(file_stamp(path))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
        every, partial = self.settings.every, self.settings.partial
        key = f"{content} {every} {QUALITY}" + (" partial" if partial else "")
        name = path.stem.encode()[:NAME].decode(errors="ignore")
        root = user_path(self.settings.cache) / f"{name}_{digest(key, size=8)}"
        made_of = {"video": content, "every": every, "quality": QUALITY, "partial": partial}
        return AtomicFolder(root, made_of, STAMP, self._is_own, "data.cache")

    @staticmethod
    def _is_own(name: str) -> bool:
        return FRAME.fullmatch(name) is not None

    def _extract(self, folder: Path) -> None:
        path = user_path(self.settings.video)
        with VideoFrames(path) as video:
            for number, frame in enumerate(video.take(self.settings.every)):
                write_file(folder / f"{number:05d}.jpg", _jpeg(frame, f"{path}: frame {number}"))
            if not video.read:
                raise InputError(f"{path}: not a video that OpenCV can read: none of its frames can be decoded")
            if loss := video.loss():
                problem = f"{path}: {loss}: it is cut off, damaged, or was trimmed without being encoded again"
                if not self.settings.partial:
                    raise InputError(
                        f"{problem}; copy it again, encode it again, or set data.partial=true to use what can be read"
                    )
                print(f"note: {problem}; those are used", file=sys.stderr)


def _jpeg(frame: np.ndarray, what: str) -> bytes:
    try:
        done, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    except cv2.error:
        done = False
    if not done:
        raise InputError(f"{what} of {frame.shape[0]}x{frame.shape[1]} (HxW) cannot be written as JPEG")
    return data.tobytes()
