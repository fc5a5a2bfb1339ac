"""Nouns of expressions by image classes: which tracklets look like a "swan"; needs the optional extra `[open]`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.inference.image_classes import extra
from rvos_ensemble.adapters.inference.image_classes.names import CLASSES, names
from rvos_ensemble.adapters.inference.image_classes.nouns import Noun, read_noun
from rvos_ensemble.ensemble.fusion.words.description import Cue
from rvos_ensemble.ensemble.fusion.words.lexicon import PEOPLE
from rvos_ensemble.ensemble.fusion.words.tracks import Tracks

if TYPE_CHECKING:
    from rvos_ensemble.adapters.inference.image_classes.classifier import Classifier
    from rvos_ensemble.adapters.inference.image_classes.encoder import WordEncoder

CROPS = 4  # frames in which a tracklet is classified
BACKGROUND = 0.3  # how much of the picture around the object is kept


@dataclass
class WordClasses:
    """Reads nouns by the classes of the pictures of tracklets; models are loaded when they are first needed."""

    @cached_property
    def classifier(self) -> Classifier:
        """The classifier of the extra."""
        from rvos_ensemble.adapters.inference.image_classes.classifier import Classifier  # loading torch is slow

        return Classifier(extra.required(extra.CLASSIFIER))

    @cached_property
    def encoder(self) -> WordEncoder | None:
        """The encoder of words; None if it is not installed."""
        from rvos_ensemble.adapters.inference.image_classes.encoder import WordEncoder

        path = extra.path_of(extra.ENCODER)
        return WordEncoder(path) if path else None

    @cached_property
    def _names(self) -> np.ndarray:
        """Vectors of the names of the classes, float32 [1000, C]."""
        return self.encoder(names())

    def similarity(self, noun: str) -> np.ndarray:
        """Cosines of a noun with the names of the classes, float32 [1000]; zeros without the encoder."""
        return self._names @ self.encoder([noun])[0] if self.encoder else np.zeros(CLASSES, np.float32)

    def nouns(self, cues: Iterable[Cue]) -> dict[Cue, Noun]:
        """The nouns among cues that image classes can say something about.

        A part, such as "with a hat", is read by the names of the classes only: it decides too little for guesses.
        """
        read = {}
        for cue in cues:
            is_person = cue.value.split()[-1] in PEOPLE
            similarity = self.similarity if cue.kind == "object" else None
            noun = None if is_person and cue.kind == "part" else read_noun(cue.value, is_person, similarity)
            if noun is not None:
                read[cue] = noun
        return read

    def probabilities(self, clip: Clip, objects: Mapping[str, MaskSequence], tracks: Tracks) -> np.ndarray:
        """Mean class probabilities of each tracklet over some of its frames, float64 [P, 1000]; 0 without masks."""
        from rvos_ensemble.adapters.inference.image_classes.classifier import crop

        wanted: dict[int, list[int]] = {}
        for p, area in enumerate(tracks.area):
            for f in _spread(np.flatnonzero(area > 0)):
                wanted.setdefault(tracks.frames[f], []).append(p)
        result, sequences = np.zeros((len(objects), CLASSES)), list(objects.values())
        for t, here in sorted(wanted.items()):
            frame = clip.read(t)
            crops = [crop(frame, np.ascontiguousarray(sequences[p].mask(t)), BACKGROUND) for p in here]
            result[here] += self.classifier(crops)
        counts = np.array([max(1, len(_spread(np.flatnonzero(area > 0)))) for area in tracks.area])
        return result / counts[:, None]


@lru_cache(maxsize=1)
def word_classes() -> WordClasses:
    """The models of this process."""
    return WordClasses()


def _spread(frames: np.ndarray) -> np.ndarray:
    """At most `CROPS` of some frames, evenly spread, without the first and last, which are often cut."""
    if len(frames) <= CROPS:
        return frames
    return frames[np.linspace(0, len(frames) - 1, CROPS + 2).round().astype(int)[1:-1]]
