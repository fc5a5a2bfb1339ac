"""Small videos of label maps on which protocols differ: void, late objects, gaps in the numbers, empty frames.

They use integer arithmetic only, so that they are the same on every machine: `golden_davis.py` contains the scores of
the official code for them.
"""

import json
from pathlib import Path

import cv2
import numpy as np

from rvos_ensemble.adapters.core.io import png

SIZES = {"plain": (60, 131), "void": (97, 150), "late": (45, 83), "gaps": (60, 131), "odd": (33, 64)}
LENGTHS = {"plain": 12, "void": 9, "late": 11, "gaps": 7, "odd": 5}


def disk(size, y, x, radius):
    """bool [H, W], a disk with a ragged edge."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2 - (rows * 7 + columns * 3) % 11


def truth(video):
    """uint8 [T, H, W]; 255 is void."""
    (h, w), out = SIZES[video], []
    for t in range(LENGTHS[video]):
        frame = np.zeros((h, w), np.uint8)
        first, second = disk((h, w), h // 2 + t, 20 + 4 * t, 13), disk((h, w), h // 3, w - 15 - 3 * t, 11)
        third = disk((h, w), h - 8, w // 2 + t, 9)
        if video == "odd":
            frame[:, : 10 + 14 * t] = 1  # touches three borders, fills the frame in the end
        elif video == "late":
            frame[second & (t < 6)] = 2  # vanishes
            frame[first & (t > 2)] = 1  # appears late, its number is below the highest of the first frame
        else:
            frame[first] = 1
            frame[second] = 3 if video == "gaps" else 2
        if video == "void":
            frame[third] = 3
            frame[h // 3 : h // 3 + 9, 30 + t : 90] = 255
            frame[second ^ disk((h, w), h // 3, w - 15 - 3 * t, 9)] = 255
        out.append(frame)
    return np.stack(out)


def prediction(video):
    """uint8 [T, H, W]: every object shifted, grown or shrunk; sometimes missed, sometimes shown where it is absent."""
    frames = truth(video)
    out = np.zeros_like(frames)
    for t, frame in enumerate(frames):
        for i in sorted(set(frame[frame < 255].tolist()) - {0}):
            mask = np.roll((frame == i).astype(np.uint8), ((t * i) % 5 - 2, (t + i) % 4 - 1), (0, 1))
            kernel = np.ones(((t + i) % 4 + 1,) * 2, np.uint8)
            mask = cv2.dilate(mask, kernel) if (t + i) % 3 else cv2.erode(mask, kernel)
            if (t + 2 * i) % 9:
                out[t][mask > 0] = i
    if video == "late":
        out[2][disk(SIZES[video], 10, 60, 8)] = 1
        out[8][disk(SIZES[video], 30, 20, 6)] = 2
    return out


def proposals(video):
    """uint8 [T, H, W]: the predictions with other numbers, and proposals that are not objects."""
    renumber = np.array([0, 4, 1, 6, *range(4, 256)], np.uint8)
    out = renumber[prediction(video)]
    for t, frame in enumerate(out):
        frame[(frame == 0) & disk(SIZES[video], 12, 12 + t, 7)] = 2
        frame[(frame == 0) & disk(SIZES[video], 25, 40 - t, 9)] = 3
    return out


def write(folder: Path, make, videos=tuple(SIZES)) -> Path:
    """Writes VIDEO/FRAME.png into a folder."""
    for video in videos:
        for t, frame in enumerate(make(video)):
            path = folder / video / f"{t:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png.encode_indices(frame))
    return folder


def davis_root(folder: Path, videos=tuple(SIZES)) -> Path:
    """Writes a DAVIS root: annotations twice, as the official code needs them, and the list of videos."""
    for name in ("Annotations", "Annotations_unsupervised"):
        write(folder / name / "480p", truth, videos)
    listing = folder / "ImageSets" / "2017" / "val.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("".join(f"{video}\n" for video in videos))
    return folder


def write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
