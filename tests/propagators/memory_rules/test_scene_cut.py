"""Scene cuts against OpenCV's own comparison and a written-out histogram, on rendered and on real video."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvos_ensemble.propagators.core.memory_rules.scene_cut import (
    DISTANCE,
    ClipShots,
    CutDetector,
    distance,
    distances,
    histogram,
    shots,
)
from rvos_ensemble.propagators.core.propagator import Frame

REAL = Path(__file__).parents[4] / "shared/data/ref_davis_mini/valid/JPEGImages"


def render(colour, shift=0, size=(120, 160)):
    """A textured picture around a colour."""
    rng = np.random.default_rng(sum(colour))
    noise = cv2.resize(rng.uniform(-1, 1, (16, 21, 3)), size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.roll(np.clip(np.array(colour) + 30 * noise, 0, 255).astype(np.uint8), shift, axis=1)


def naive_distance(a, b):
    """The test written out pixel by pixel, from OpenCV's definition of HSV for 8 bits: H in 0..179, S in 0..255."""

    def share(image):
        counts = {}
        for hue, saturation, _ in cv2.cvtColor(image, cv2.COLOR_RGB2HSV).reshape(-1, 3).tolist():
            key = hue * 60 // 180, saturation * 80 // 256
            counts[key] = counts.get(key, 0) + 1
        return {key: count / (image.shape[0] * image.shape[1]) for key, count in counts.items()}

    p, q = share(a), share(b)
    return max(0, 1 - sum((p[key] * q[key]) ** 0.5 for key in p.keys() & q.keys())) ** 0.5


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
def test_the_distance_is_the_written_out_one_and_opencvs(seed, h, w):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 256, (2, h, w, 3), dtype=np.uint8) // np.uint8(rng.choice([1, 60]))
    ours = distance(histogram(a), histogram(b))
    assert ours == pytest.approx(naive_distance(a, b), abs=1e-7)
    assert ours == pytest.approx(cv2.compareHist(histogram(a), histogram(b), cv2.HISTCMP_BHATTACHARYYA), abs=1e-3)
    assert ours == distance(histogram(b), histogram(a)) and distance(histogram(a), histogram(a)) < 1e-7


@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_frames_have_a_histogram(value):
    image = np.full((5, 7, 3), value, np.uint8)
    assert histogram(image).sum() == 35 and distance(histogram(image), histogram(image)) == 0


def test_shots_of_a_rendered_clip():
    colours = [(200, 60, 60)] * 3 + [(60, 200, 60)] * 1 + [(60, 60, 200)] * 4 + [(200, 60, 60)] * 2
    measured = distances(render(c, 2 * t) for t, c in enumerate(colours))
    assert shots(measured, DISTANCE) == [range(0, 3), range(3, 4), range(4, 8), range(8, 10)]
    assert shots(measured, 1.0) == [range(0, 10)] and len(shots(np.zeros(1))) == 1


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs {REAL}")
def test_real_clips_have_one_shot_each_and_a_cut_where_they_are_joined():
    clips = [sorted(folder.glob("*.jpg"))[::12] for folder in sorted(REAL.iterdir()) if folder.name != "bmx-trees"]
    files = [file for clip in clips for file in clip]
    measured = distances(cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files)
    starts = np.cumsum([0, *map(len, clips)])
    assert shots(measured) == [range(a, b) for a, b in pairwise(starts.tolist())]


class Recorder:
    """A clip that counts its reads."""

    def __init__(self, images):
        self.images, self.reads = images, 0

    def __len__(self):
        return len(self.images)

    def read(self, t):
        self.reads += 1
        return self.images[t]


def test_a_clip_is_decoded_at_the_first_question_and_once():
    clip = Recorder([render((200, 60, 60)), render((60, 60, 200))])
    of_clip = ClipShots(clip)
    assert clip.reads == 0
    assert of_clip(0.35) == [range(0, 1), range(1, 2)] and of_clip(1.0) == [range(0, 2)] and clip.reads == 2


def test_the_detector_agrees_in_both_directions_and_computes_a_histogram_once(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "rvos_ensemble.propagators.core.memory_rules.scene_cut.histogram", lambda x: calls.append(1) or histogram(x)
    )
    frames = [Frame(t, render(c, t)) for t, c in enumerate([(200, 60, 60)] * 2 + [(60, 60, 200)] * 2)]
    forward = CutDetector(0.35)
    assert [forward.is_cut(frame) for frame in frames] == [False, False, True, False]
    backward = CutDetector(0.35)
    assert [backward.is_cut(frame) for frame in frames[::-1]] == [False, False, True, False] and len(calls) == 4
    backward.reset()
    assert not backward.is_cut(frames[3]), "after a reset, a frame has no neighbour"
    off = CutDetector(None)
    assert not any(off.is_cut(Frame(0, frame.image)) for frame in frames) and len(calls) == 4
