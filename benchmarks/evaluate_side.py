"""One side of one case of `benchmarks.evaluate`, in a separate process.

    python benchmarks/evaluate_side.py SIDE CASE FOLDER RESULT [CHECKOUT]

SIDE is ours, davis2017 or vos-benchmark; FOLDER is the folder that `benchmarks.evaluate` wrote for the case. RESULT is
a json file: {"scores": {unit: {measure: value or values}}, "seconds": CPU time of the scoring, "peak": MB, "imported":
MB after the imports}. The peers need NumPy, OpenCV, Pillow and the requirements of the checkout, but not this package.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

Scores = dict[str, dict]
MEASURES = ("J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")


def megabytes(field: str) -> float:
    """VmHWM (peak) or VmRSS of this process; `ru_maxrss` would count the parent's pages until exec."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


def sequences(folder: Path) -> dict[str, tuple[list[Path], list[Path]]]:
    """{video: files of the ground truth, files of the prediction} without the first and last frame."""
    truth = folder / "Annotations" / "480p"
    files = {v.name: sorted(v.iterdir())[1:-1] for v in sorted(truth.iterdir())}
    return {v: (paths, [folder / "pred" / v / path.name for path in paths]) for v, paths in files.items()}


def pictures(files: list[Path]) -> np.ndarray:
    """The images of some files, uint8 [N, H, W]."""
    return np.stack([np.array(Image.open(file)) for file in files])


def listing(folder: Path) -> dict[str, dict]:
    """The videos of a Ref-YouTube-VOS folder: {name: {"expressions", "frames"}}."""
    return json.loads((folder / "meta_expressions" / "valid" / "meta_expressions.json").read_bytes())["videos"]


def ours() -> dict[str, Callable]:
    """{case: a function that scores its folder with this package}."""
    from rvos_ensemble.adapters.core.io import png
    from rvos_ensemble.ensemble.fusion.bits import pack
    from rvos_ensemble.ensemble.metrics.jf import Prepared, j_and_f
    from rvos_ensemble.ensemble.metrics.protocols.davis2017_semi import Davis2017SemiProtocol
    from rvos_ensemble.ensemble.metrics.protocols.davis2017_unsup import Davis2017UnsupProtocol
    from rvos_ensemble.ensemble.metrics.protocols.ref_youtube_vos import RefYoutubeVosProtocol
    from rvos_ensemble.ensemble.metrics.scores import PIXELS_AT_A_TIME

    def protocol(chosen, pred: str, unit: Callable, folder: Path) -> tuple[Scores, float]:
        start = time.process_time()
        rows = chosen().evaluate(folder, folder / pred, workers=1).rows
        seconds, seen, scores = time.process_time() - start, {}, {}
        for row in rows.to_dict("records"):
            seen[row["video"]] = seen.get(row["video"], 0) + 1
            percent = {f"{m} x 100": 100 * row[m] for m in ("J-Mean", "F-Mean")}
            scores[unit(row, seen[row["video"]])] = {**{m: row[m] for m in MEASURES}, **percent}
        return scores, seconds

    def prepared(decoded: bool, folder: Path) -> tuple[Scores, float]:
        """Scores against prepared ground truth, with predictions that are packed already (`decoded`) or still files."""

        def packed(files: list[Path]) -> np.ndarray:
            return np.stack([pack(png.read(file).values != 0) for file in files])

        scores, seconds = {}, 0.0
        for video, (truth, pred) in sequences(folder).items():
            size = png.size(truth[0])
            step = PIXELS_AT_A_TIME // (size[0] * size[1])
            parts = [slice(t, t + step) for t in range(0, len(truth), step)]
            targets = [Prepared(packed(truth[part]), size) for part in parts]
            for target in targets:
                j_and_f(target, target)
            masks = [packed(pred[part]) for part in parts] if decoded else []
            start = time.process_time()
            masks = masks or (packed(pred[part]) for part in parts)
            parts_scores = [j_and_f(Prepared(m, size), target) for m, target in zip(masks, targets, strict=True)]
            seconds += time.process_time() - start
            both = zip(*parts_scores, strict=True)
            scores[video] = {k: np.concatenate(v).tolist() for k, v in zip("JF", both, strict=True)}
        return scores, seconds

    def numbered(row: dict, k: int) -> str:
        return f"{row['video']}_{k}"  # as the official code numbers rows, including those of proposals

    return {
        "single": lambda folder: protocol(Davis2017SemiProtocol, "pred", numbered, folder),
        "multi": lambda folder: protocol(Davis2017SemiProtocol, "pred", numbered, folder),
        "unsupervised": lambda folder: protocol(Davis2017UnsupProtocol, "pred", numbered, folder),
        "expressions": lambda folder: protocol(
            RefYoutubeVosProtocol, "Annotations", lambda row, k: f"{row['video']}/{row['expression']}", folder
        ),
        "prepared": lambda folder: prepared(False, folder),
        "memory": lambda folder: prepared(True, folder),
    }


def davis2017() -> dict[str, Callable]:
    """{case: a function that scores its folder with davis2017-evaluation}."""
    from davis2017.evaluation import DAVISEvaluation
    from davis2017.metrics import db_eval_boundary, db_eval_iou

    def official(task: str, folder: Path) -> tuple[Scores, float]:
        start = time.process_time()
        result = DAVISEvaluation(str(folder), task, "val").evaluate(str(folder / "pred"))
        seconds = time.process_time() - start
        values = [result[m][k] for m in "JF" for k in "MRD"]
        units = zip(result["J"]["M_per_object"], zip(*values, strict=True), strict=True)
        return {unit: dict(zip(MEASURES, map(float, row), strict=True)) for unit, row in units}, seconds

    def expressions(folder: Path) -> tuple[Scores, float]:
        """The loop over expressions that RVOS code commonly writes around the official functions."""
        start, scores = time.process_time(), {}
        for video, entry in listing(folder).items():
            for i, expression in entry["expressions"].items():
                names = [f"{frame}.png" for frame in entry["frames"]]
                labels = pictures([folder / "valid" / "Annotations" / video / name for name in names])
                truth = labels == int(expression["obj_id"])
                pred = pictures([folder / "Annotations" / video / i / name for name in names]) > 0
                j, f = db_eval_iou(truth, pred), db_eval_boundary(truth, pred)
                scores[f"{video}/{i}"] = {"J-Mean": float(np.mean(j)), "F-Mean": float(np.mean(f))}
        return scores, time.process_time() - start

    def memory(folder: Path) -> tuple[Scores, float]:
        scores, seconds = {}, 0.0
        for video, files in sequences(folder).items():
            truth, pred = (pictures(paths) > 0 for paths in files)
            start = time.process_time()
            j, f = db_eval_iou(truth, pred), db_eval_boundary(truth, pred)
            seconds += time.process_time() - start
            scores[video] = {"J": j.tolist(), "F": f.tolist()}
        return scores, seconds

    return {
        "single": lambda folder: official("semi-supervised", folder),
        "multi": lambda folder: official("semi-supervised", folder),
        "unsupervised": lambda folder: official("unsupervised", folder),
        "expressions": expressions,
        "memory": memory,
    }


def vos_benchmark() -> dict[str, Callable]:
    """{case: a function that scores its folder with vos-benchmark}."""
    from vos_benchmark.benchmark import VideoEvaluator
    from vos_benchmark.evaluator import Evaluator

    def objects(folder: Path) -> tuple[Scores, float]:
        """The function that its process pool calls, here in one process."""
        start, scores = time.process_time(), {}
        evaluate = VideoEvaluator(str(folder / "Annotations" / "480p"), str(folder / "pred"))
        for video in sequences(folder):
            _, j, f = evaluate(video)
            scores |= {f"{video}_{i}": {"J-Mean x 100": float(j[i]), "F-Mean x 100": float(f[i])} for i in j}
        return scores, time.process_time() - start

    def memory(folder: Path) -> tuple[Scores, float]:
        scores, seconds = {}, 0.0
        for video, files in sequences(folder).items():
            truth, pred = map(pictures, files)
            start, evaluator = time.process_time(), Evaluator()
            for t in range(len(truth)):
                evaluator.feed_frame(pred[t], truth[t])
            seconds += time.process_time() - start
            scores[video] = {k: [float(x) for x in v[1]] for k, v in (
                ("J", evaluator.object_iou), ("F", evaluator.boundary_f))}  # fmt: skip
        return scores, seconds

    return {"single": objects, "multi": objects, "memory": memory}


SIDES = {"ours": ours, "davis2017": davis2017, "vos-benchmark": vos_benchmark}

if __name__ == "__main__":
    side, case, folder, result, *checkout = sys.argv[1:]
    sys.path[0] = checkout[0] if checkout else str(Path(__file__).resolve().parent.parent)
    cv2.setNumThreads(1)
    cases = SIDES[side]()
    imported = megabytes("VmRSS")
    scores, seconds = cases[case](Path(folder))
    report = {"scores": scores, "seconds": seconds, "imported": imported, "peak": megabytes("VmHWM")}
    Path(result).write_text(json.dumps(report))
