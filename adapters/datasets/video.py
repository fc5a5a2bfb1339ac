"""A video file of your own, with the sentences you give."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

import cv2

from adapters.component import REQUIRED
from adapters.datasets import Dataset
from adapters.datasets.frames import ImageFiles
from adapters.datasets.meta import parse
from adapters.files.side_files import file_hash, file_stamp
from adapters.sequence import Clip, InputError

QUALITY = 95  # of the JPEG frames, as benchmarks have theirs


class Video(Dataset):
    """A video file of your own (mp4, avi, mov, ...), with the sentences you give.

    Its frames are taken out once, to `cache/NAME_HASH`, since every part of a recipe reads them in an order of its own.

    Settings:
        video: the file.
        expressions: sentences, a list.
        every: takes every so many-th frame; 5 makes 6 frames a second of 30, as Ref-YouTube-VOS has them.
        cache: folder for the frames.
    """

    defaults = {
        "video": REQUIRED,
        "expressions": REQUIRED,
        "every": 1,
        "cache": ".cache/video",
    }

    def prepare(self) -> None:
        """Takes the frames out of the video, whole or not at all.

        Raises:
            InputError: no such file, or one without a frame that OpenCV can read.
        """
        folder = self._folder()
        if folder.is_dir():
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
        try:
            self._take_out(new)
            new.rename(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def clips(self) -> list[Clip]:
        """The video as a clip, called like its file."""
        self.prepare()
        path = Path(self.settings.video)
        files = tuple(sorted(self._folder().glob("*.jpg")))
        sentences = self.settings.expressions
        texts = sentences if isinstance(sentences, list) else [sentences]
        entry = {
            "frames": [file.stem for file in files],
            "expressions": {str(i): {"exp": text} for i, text in enumerate(texts)},
        }
        names, expressions = parse(path.stem, entry, "data.expressions")
        return [Clip(path.stem, names, expressions, ImageFiles(files))]

    def _folder(self) -> Path:
        path, every = Path(self.settings.video).expanduser(), self.settings.every
        if every < 1:
            raise InputError(f"video: setting `every` is {every}, expected at least 1")
        if not path.is_file():
            raise InputError(f"{path}: no such file, given as `video`")
        key = hashlib.blake2b(f"{file_hash(file_stamp(path))} {every} {QUALITY}".encode(), digest_size=8).hexdigest()
        return Path(self.settings.cache).expanduser() / f"{path.stem}_{key}"

    def _take_out(self, folder: Path) -> None:
        video = cv2.VideoCapture(str(Path(self.settings.video).expanduser()))
        count = written = 0
        while video.grab():
            if count % self.settings.every == 0:
                there, frame = video.retrieve()
                if not there:
                    break
                cv2.imwrite(str(folder / f"{written:05d}.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
                written += 1
            count += 1
        video.release()
        if not written:
            raise InputError(f"{self.settings.video}: not a video that OpenCV can read")
