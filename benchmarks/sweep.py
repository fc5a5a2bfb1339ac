"""Milliseconds per frame of J and F at every threshold of a vote map: this package and the official code.

    python -m benchmarks.sweep DAVIS2017-EVALUATION

The argument is a checkout of github.com/davisvideochallenge/davis2017-evaluation, which needs scikit-image; without it
only our two methods are compared. CPU time of one thread, the best of several rounds in which all take turns; all
numbers are compared first.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

from benchmarks.metrics import best, masks
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.ensemble.metrics import threshold_sweep
from rvos_ensemble.ensemble.metrics.threshold_sweep import score_votes

FRAMES, ROUNDS = 8, 3


def votes_of(height: int, width: int, total: int) -> np.ndarray:
    """uint8 [FRAMES, H, W]: each vote is an object of about a tenth of the frame, with a random ragged outline."""
    votes = np.zeros((FRAMES, height, width), np.uint8)
    for seed in range(total):
        votes += np.roll(masks(height, width, seed)[:FRAMES], (seed * 7 % 11 - 5, seed * 5 % 13 - 6), axis=(1, 2))
    return votes


def official(votes: np.ndarray, truth: np.ndarray, thresholds: range) -> np.ndarray:
    """float64 [J and F, thresholds, FRAMES] of the official functions, called once per threshold."""
    from davis2017.metrics import db_eval_boundary, db_eval_iou

    return np.array([[score(truth, votes >= t) for t in thresholds] for score in (db_eval_iou, db_eval_boundary)])


def ours(votes: MaskSequence, truth: MaskSequence, thresholds: range, fewest: int) -> np.ndarray:
    """The same from this package, in one pass if there are at least `fewest` thresholds."""
    threshold_sweep.FEWEST = fewest
    scores = score_votes({"votes": (votes, thresholds)}, truth)["votes"]
    return np.array([[scores[t].J for t in thresholds], [scores[t].F for t in thresholds]])


def main() -> None:
    cv2.setNumThreads(1)
    peer = len(sys.argv) > 1
    if peer:
        sys.path.insert(0, sys.argv[1])
    print(f"{'ms per frame':26}{'official':>10}{'one by one':>12}{'one pass':>10}{'official/ours':>15}")
    for height, width in ((480, 854), (720, 1280)):
        for total in (1, 2, 3, 4, 8, 16):
            votes, truth = votes_of(height, width, total), masks(height, width, 99)[:FRAMES]
            kept, target = MaskSequence(votes, "votes", total=total), MaskSequence.binary(truth)
            thresholds = range(1, total + 1)
            single, whole = ours(kept, target, thresholds, 1000), ours(kept, target, thresholds, 1)
            assert np.array_equal(single, whole)
            functions = [
                lambda v=kept, g=target, n=thresholds: ours(v, g, n, 1000),
                lambda v=kept, g=target, n=thresholds: ours(v, g, n, 1),
            ]
            if peer:
                assert np.array_equal(single, official(votes, truth, thresholds))
                functions.append(lambda v=votes, g=truth, n=thresholds: official(v, g, n))
            one_by_one, one_pass, *theirs = best(*functions, frames=FRAMES, rounds=ROUNDS)
            row = f"{f'{height}p  {total} thresholds':26}{theirs[0] if theirs else float('nan'):10.2f}"
            row += f"{one_by_one:12.2f}{one_pass:10.2f}"
            print(row + (f"{theirs[0] / min(one_by_one, one_pass):14.1f}x" if theirs else ""))


if __name__ == "__main__":
    main()
