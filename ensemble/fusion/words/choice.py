"""The choice of tracklets by the cues of a sentence: a log-linear model with fixed weights.

    score(tracklet) = sum over cues of weight(kind) * log(FLOOR + (1 - FLOOR) * fit(cue, tracklet))

Absolute cues (object, part, colour) are read first. The tracklets that fit them are the peers among which places,
orders and sizes are compared: "the left dog" is the leftmost of the dogs, not of all objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rvos_ensemble.ensemble.fusion.words import relative
from rvos_ensemble.ensemble.fusion.words.colour import COLOURS, share_of
from rvos_ensemble.ensemble.fusion.words.description import Cue, Description
from rvos_ensemble.ensemble.fusion.words.tracks import Tracks

# chosen on collages of clips of DAVIS that are not used for tests, see docs/open.md
WEIGHTS: Mapping[str, float] = {
    "answer": 2.0,  # of a detector that reads sentences; among its answers only
    "object": 2.0,
    "part": 0.3,
    "colour": 1.5,
    "part colour": 1.0,
    "place": 1.5,
    "order": 2.5,
    "size": 1.0,
    "motion": 0.8,
    "salience": 0.3,
}
FLOOR = 0.03  # a fit of 0 is never certain
WHOLE, PART = 0.4, 0.12  # share of the mask at which a colour of the object, or of a part of it, fits fully
PEER = 0.4  # fit of the absolute cues, relative to the best, from which a tracklet is a peer
ALSO = 0.5  # probability relative to the best from which a tracklet belongs to a plural
ANSWER = Cue("answer", "", "the sentence")
DECISIVE = ("object", "colour", "part colour")  # the cues that say whether the object exists


@dataclass(frozen=True)
class Choice:
    """What was chosen for a sentence.

    Attributes:
        chosen: indices of the tracklets, best first; empty if there are none.
        probabilities: of each tracklet, float64 [P], sum 1.
        fits: {cue: its fit to each tracklet, float64 [P] in 0..1}.
        presence: how likely the sentence refers to anything, 0..1; None if no cue that was read can say so.
        answered: whether a detector that read the sentence found something; None without such a detector.
    """

    chosen: tuple[int, ...]
    probabilities: np.ndarray
    fits: Mapping[Cue, np.ndarray]
    presence: float | None
    answered: bool | None = None


def choose(
    description: Description,
    tracks: Tracks,
    classes: Mapping[Cue, np.ndarray],
    salience: np.ndarray,
    answers: np.ndarray | None = None,
) -> Choice:
    """Chooses the tracklets of a sentence.

    Args:
        description: what was understood of it.
        tracks: measurements of the P tracklets.
        classes: {cue of kind "object" or "part": its fit by image classes, float64 [P]}; cues without one are not read.
        salience: of each tracklet, float64 [P] in 0..1, see `salience_of`; it decides where words do not.
        answers: confidence of a detector that each tracklet answers the sentence, float64 [P]; 0: it does not. Only
            answers are chosen, if there are any; the presence is the confidence of the best. None: no such detector.
    """
    fits = dict(classes) if answers is None else {ANSWER: answers, **classes}
    for cue in description.of("colour", "part colour"):
        share = share_of(cue.value, tracks.colours)
        fits[cue] = np.minimum(1, share / (WHOLE if cue.kind == "colour" and not _several(description) else PART))
    score = _score(fits)
    peers = score - score.max() >= np.log(PEER)
    for cue in description.of("place", "order", "size", "motion"):
        fits[cue] = _relative(cue, tracks, peers)
    total = _score(fits) + WEIGHTS["salience"] * np.log(FLOOR + (1 - FLOOR) * salience)
    if answers is not None and answers.any():
        total = np.where(answers > 0, total, -np.inf)
    probabilities = np.exp(total - total.max())
    probabilities /= probabilities.sum()
    chosen = _of_number(probabilities, description.count)
    if answers is not None:
        return Choice(chosen, probabilities, fits, float(answers[chosen[0]]), bool(answers.any()))
    decisive = [fit[chosen[0]] for cue, fit in fits.items() if cue.kind in DECISIVE]
    presence = float(np.exp(np.mean(np.log(np.maximum(decisive, 1e-6))))) if decisive else None
    return Choice(chosen, probabilities, fits, presence)


def salience_of(tracks: Tracks, scores: Sequence[float] | None = None) -> np.ndarray:
    """How much each tracklet stands out: large, in the middle, visible, and with a high score.

    Args:
        tracks: the measurements.
        scores: of the tracklets, if they have any, in 0..1.

    Returns:
        float64 [P]; the highest is 1 unless all are 0.
    """
    off_centre = np.hypot(tracks.mean(tracks.x) - 0.5, tracks.mean(tracks.y) - 0.5) / np.hypot(0.5, 0.5)
    value = np.sqrt(tracks.area.mean(1)) * (1 - 0.5 * off_centre) * tracks.visible
    value = value * np.asarray(scores) if scores is not None else value
    return value / value.max() if value.max() > 0 else value


def _several(description: Description) -> bool:
    """Whether the object has several colours, of which none covers all of it."""
    return len({tuple(COLOURS[c.value]) for c in description.of("colour")}) > 1


def _score(fits: Mapping[Cue, np.ndarray]) -> np.ndarray:
    """The log-linear score of the cues; 0 without any."""
    parts = [WEIGHTS[cue.kind] * np.log(FLOOR + (1 - FLOOR) * fit) for cue, fit in fits.items()]
    return np.sum(parts, axis=0) if parts else np.zeros(1)


def _relative(cue: Cue, tracks: Tracks, peers: np.ndarray) -> np.ndarray:
    """The fit of a cue of place, order, size or motion."""
    peers = np.broadcast_to(peers, (len(tracks.names),))
    if cue.kind == "place":
        return relative.place_fit(cue.value, tracks, peers)
    if cue.kind == "order":
        return relative.order_fit(cue.value, cue.rank, tracks, peers)
    if cue.kind == "size":
        return relative.size_fit(cue.value, tracks, peers)
    return relative.motion_fit(cue.value, tracks)


def _of_number(probabilities: np.ndarray, count: int | None) -> tuple[int, ...]:
    """The best tracklets: as many as the sentence says, or all that are nearly as probable as the best."""
    order = np.argsort(-probabilities, kind="stable")
    if count is None:
        return tuple(int(i) for i in order if probabilities[i] >= ALSO * probabilities[order[0]])
    return tuple(int(i) for i in order[:count] if probabilities[i] > 0)
