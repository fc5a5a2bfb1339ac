"""The step `words`: cues on painted clips, peers, number, refusal, notes, and what it says without the extra."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Objects, check_prediction
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.inference.image_classes import extra
from rvos_ensemble.ensemble.fusion.words import choice, colour, relative
from rvos_ensemble.ensemble.fusion.words.camera import small_picture
from rvos_ensemble.ensemble.fusion.words.description import Cue, Description
from rvos_ensemble.ensemble.fusion.words.tracks import measure
from rvos_ensemble.ensemble.steps.words import Words

T, H, W, SIDE = 8, 60, 80, 12
PAINT = {"red": (210, 20, 30), "blue": (20, 50, 190), "green": (30, 140, 40), "black": (10, 10, 10)}
NOISE = np.random.default_rng(0).integers(100, 160, (H, 3 * W, 3), np.uint8)


class Painted:
    """Squares on noise. `shift`: pixels per frame by which the camera moves to the right."""

    size = (H, W)

    def __init__(self, squares, shift=0):
        self.squares, self.shift = squares, shift

    def read(self, t):
        frame = np.roll(NOISE, -self.shift * t, 1)[:, :W].copy()
        for paint, at in self.squares.values():
            y, x = at(t)
            frame[y : y + SIDE, x : x + SIDE] = PAINT[paint]
        return frame

    def fingerprint(self):
        return "painted"


def scene(sentences, squares, shift=0):
    clip = Clip(
        "v",
        tuple(map(str, range(T))),
        tuple(Expression("v", str(i), s) for i, s in enumerate(sentences)),
        Painted(squares, shift),
    )
    objects = Objects()
    for name, (_, at) in squares.items():
        masks = np.zeros((T, H, W), bool)
        for t in range(T):
            y, x = at(t)
            masks[t, y : y + SIDE, x : x + SIDE] = True
        objects[name] = MaskSequence.binary(masks, np.ones(T))
    return clip, objects


SQUARES = {
    "a": ("red", lambda t: (5, 5 + 4 * t)),
    "b": ("blue", lambda t: (35, 60 - 4 * t)),
    "c": ("green", lambda t: (20, 40)),
}


def chosen(sentences, squares=SQUARES, shift=0, **options):
    clip, objects = scene(sentences, squares, shift)
    step = Words("w", **{"input": "tracks", "object_words": "off", **options})
    return [s for s in check_prediction(step.run(clip, {"tracks": objects}), clip, "w").values()]


@pytest.mark.parametrize(
    ("sentence", "name"),
    [
        ("the red thing", "a"),
        ("the blue one", "b"),
        ("the one moving left", "b"),
        ("the one moving to the right", "a"),
        ("the one standing still", "c"),
        ("the slowest one", "c"),
        ("leftmost", "a"),
        ("the one at the bottom", "b"),
        ("second from the left", "c"),
        ("third from the left", "b"),
        ("the green square on the left", "c"),  # colour counts more than place
    ],
)
def test_one_cue(sentence, name):
    assert chosen([sentence])[0].notes["object"] == name


def test_the_motion_of_the_camera_is_subtracted():
    """The camera follows `a`: it stays in place in the picture, and the still object moves to the left."""
    squares = {"a": ("red", lambda t: (5, 30)), "c": ("green", lambda t: (35, 60 - 4 * t))}
    still, moving, right = chosen(["the one standing still", "the one moving", "the one moving right"], squares, 4)
    assert [s.notes["object"] for s in (still, moving, right)] == ["c", "a", "a"]


def test_places_compare_the_objects_that_fit_the_other_words():
    squares = {
        "red right": ("red", lambda t: (5, 60)),
        "red left": ("red", lambda t: (5, 30)),
        "blue": ("blue", lambda t: (30, 2)),
    }
    left, first = chosen(["the red one on the left", "the first red one from the left"], squares)
    assert left.notes["object"] == first.notes["object"] == "red left"


def test_a_plural_is_the_union():
    clip, objects = scene(["two squares", "all"], SQUARES)
    two, _ = Words("w", input="tracks", object_words="off").run(clip, {"tracks": objects}).values()
    names = two.notes["object"]
    assert len(names) == 2
    for t in range(T):
        assert np.array_equal(two.mask(t), objects[names[0]].mask(t) | objects[names[1]].mask(t))


def test_soft_tracklets_stay_soft_and_more_may_be_wanted_than_there_are():
    clip, objects = scene(["five squares", "the red one"], SQUARES)
    soft = Objects(
        {n: MaskSequence.prob(np.stack([s.prob_at(t) for t in range(T)]), s.scores) for n, s in objects.items()}
    )
    all_of_them, red = Words("w", input="tracks", object_words="off").run(clip, {"tracks": soft}).values()
    assert all_of_them.kind == red.kind == "prob" and len(all_of_them.notes["object"]) == 3


def test_notes_say_what_was_understood():
    sequence = chosen(["the green ball at the top behind a car"])[0]
    words = sequence.notes["words"]
    assert "green: colour (1.00)" in words["understood"] and "place top" in words["understood"]
    assert words["not_understood"] == ["ball", "behind car"]
    assert sum(words["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert sequence.presence == words["presence"] == 1
    assert sequence.notes["chosen"].startswith("c by ") and "object words are off" in sequence.notes["chosen"]


@pytest.mark.parametrize("sentence", ["", "der rote Ball ist hier", "zxqv"])
def test_what_is_not_understood_takes_the_most_salient_or_is_refused(sentence):
    kept, refused = chosen([sentence])[0], chosen([sentence], refuse=True)[0]
    assert kept.notes["object"] == "c" and "nothing was understood" in kept.notes["chosen"]
    assert kept.presence is None and not kept.is_empty()
    assert refused.is_empty() and refused.notes["chosen"].startswith("empty, because nothing was understood")


def test_a_colour_that_nothing_has_is_refused():
    black, red = chosen(["the black one", "the red one"], refuse=True)
    assert black.is_empty() and black.presence < 0.15 and "nothing fits: presence" in black.notes["chosen"]
    assert not red.is_empty() and red.presence == 1
    assert not black.scores.any()


def test_places_alone_cannot_say_that_nothing_is_there():
    sequence = chosen(["the one on the left"], refuse=True)[0]
    assert sequence.presence is None and not sequence.is_empty()


def test_salience_ignores_the_sentence():
    red, blue = chosen(["the red one", "the blue one"], by="salience")
    assert red.notes["object"] == blue.notes["object"] == "c" and "not read" in red.notes["chosen"]


def test_no_objects_give_empty_masks():
    clip, _ = scene(["the red one"], SQUARES)
    sequence = Words("w", input="tracks").run(clip, {"tracks": Objects()})["0"]
    assert sequence.is_empty() and "no objects" in sequence.notes["chosen"]


def test_invisible_tracklets_and_one_frame_are_no_problem():
    clip, objects = scene(["the left dog moving right and turning, the second from the left"], SQUARES)
    objects["never"] = MaskSequence.binary(np.zeros((T, H, W), bool))
    for frames in (1, 2, None):
        step = Words("w", input="tracks", object_words="off", frames=frames)
        sequence = step.run(clip, {"tracks": objects})["0"]
        assert sequence.notes["object"] != "never"


def test_without_the_extra_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(extra, "path_of", lambda package: None)
    sequence = chosen(["a red swan"], object_words="auto")[0]
    assert sequence.notes["object"] == "a" and sequence.notes["words"]["not_understood"] == ["swan"]
    assert extra.INSTALL in sequence.notes["chosen"]
    auto, required = (Words("w", input="t", object_words=o) for o in ("auto", "required"))
    clip, _ = scene(["a red swan"], SQUARES)
    assert extra.INSTALL in auto.describe() and not auto.problems(clip)
    assert extra.INSTALL in required.problems(clip)[0]


def test_labels_of_a_detector_name_objects():
    clip, objects = scene(["a puppy", "the woman", "a cat"], SQUARES)
    for name, label in (("a", "dog"), ("b", "person")):
        objects[name] = objects[name].with_(notes={"label": label})
    step = Words("w", input="t", object_words="off", refuse=True)
    puppy, woman, cat = step.run(clip, {"t": objects}).values()
    assert puppy.notes["object"] == "a" and "puppy: the label of the detector (1.00)" in puppy.notes["chosen"]
    assert woman.notes["object"] == "b" and woman.presence == 1
    assert cat.is_empty() and cat.presence < 0.15


def answered(answers, sentences, **options):
    """The step on tracklets with the note `answers`, {tracklet: {expression id: confidence}}."""
    clip, objects = scene(sentences, SQUARES)
    for name, own in answers.items():
        objects[name] = objects[name].with_(notes={"answers": own})
    step = Words("w", input="t", object_words="off", **options)
    return list(step.run(clip, {"t": objects}).values())


def test_a_detector_that_read_the_sentence_decides():
    answers = {"a": {"0": 0.3, "1": 0.4}, "b": {"1": 0.3}}
    other, red, none = answered(answers, ["ein blauer Ball", "the blue one", "the green one"], refuse=True)
    assert other.notes["object"] == "a" and other.presence == 0.3 and not other.is_empty()  # below `min_presence`
    assert other.notes["chosen"] == "a by the sentence: answer of the detector (0.30)"
    assert red.notes["object"] == "b" and red.presence == 0.3  # colours decide between two answers
    assert (
        none.is_empty() and none.presence == 0 and "empty, because the detector found nothing" in none.notes["chosen"]
    )


def test_only_answers_are_chosen_whatever_the_number():
    two, all_of_them = answered({"a": {"0": 0.9, "1": 0.9}, "c": {"1": 0.8}}, ["two squares", "all squares"])
    assert two.notes["object"] == "a" and sorted(all_of_them.notes["object"]) == ["a", "c"]


def test_without_refusal_an_unanswered_sentence_takes_what_its_words_say():
    _, blue = answered({"a": {"0": 0.9}}, ["the red one", "the blue one"])
    assert blue.notes["object"] == "b" and blue.presence == 0 and not blue.is_empty()


def test_settings_and_traits():
    with pytest.raises(InputError, match="min_presence"):
        Words("w", input="t", min_presence=2)
    known = {"t": Traits("binary", scores=True, objects=True)}
    assert Words("w", input="t").traits(known) == Traits("binary", scores=True)
    assert Words("w", input="t").input_problems(None, {"t": Traits("votes")})
    words = Words("w", input="t", object_words="off")
    assert words.fingerprint(scene(["x"], SQUARES)[0]).strip() == "painted"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.data())
def test_rank_is_the_share_of_lower_peers(values, data):
    peers = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    ranks = relative.rank(np.array(values), peers)
    for i, value in enumerate(values):
        others = [v for j, v in enumerate(values) if j != i and peers[j]]
        expected = sum((v < value) + 0.5 * (v == value) for v in others) / len(others) if others else 1
        assert ranks[i] == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=5), st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_the_score_is_log_linear(objects, parts):
    """The probabilities against the formula of `choice.py`, one tracklet at a time."""
    n = min(len(objects), len(parts))
    fits = {Cue("object", "x", "x"): np.array(objects[:n]), Cue("part", "y", "y"): np.array(parts[:n])}
    _, painted = scene(["x"], dict(itertools.islice(itertools.cycle(SQUARES.items()), n)))
    tracks = measure({str(i): next(iter(painted.values())) for i in range(n)}, [0], lambda t: NOISE[:, :W], False)
    made = choice.choose(Description(tuple(fits)), tracks, fits, np.ones(n))
    floor = choice.FLOOR
    likelihood = [
        (floor + (1 - floor) * o) ** 2.0 * (floor + (1 - floor) * p) ** 0.3
        for o, p in zip(objects[:n], parts[:n], strict=True)
    ]
    assert made.probabilities == pytest.approx(np.array(likelihood) / sum(likelihood))


@pytest.mark.parametrize("name", colour.BASIC)
def test_prototypes_have_their_own_names(name):
    for rgb in colour.PROTOTYPES[name]:
        found = colour.shares(np.uint8([rgb]))
        assert colour.BASIC[found.argmax()] == name and found.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("rgb", "words"),
    [((0, 0, 0), {"black", "dark"}), ((255, 255, 255), {"white", "light"}), ((192, 192, 192), {"silver", "gray"}),
     ((255, 0, 0), {"red"}), ((0, 0, 255), {"blue"}), ((205, 170, 125), {"tan", "brown"}), ((255, 215, 0), {"golden"})],
)  # fmt: skip
def test_colour_words(rgb, words):
    names = colour.shares(np.uint8([rgb]))
    for word in words:
        assert colour.share_of(word, names) > 0.5, (word, names)


def test_measurements_of_a_square():
    clip, objects = scene(["x"], SQUARES)
    tracks = measure(objects, [0, 3], clip.read)
    assert tracks.x[0].tolist() == pytest.approx([(5 + 6) / W, (17 + 6) / W])
    assert tracks.y[0].tolist() == pytest.approx([11 / H] * 2)
    assert tracks.bottom[0].tolist() == pytest.approx([17 / H] * 2)
    assert tracks.area[0].tolist() == pytest.approx([SIDE**2 / (H * W)] * 2)
    assert colour.BASIC[tracks.colours[0].argmax()] == "red" and tracks.visible.tolist() == [1, 1, 1]
    assert np.abs(tracks.camera).max() < 0.01


def test_a_large_frame_and_a_single_one():
    """4K, one frame: sizes are bounded, and a motion cannot be seen."""
    rng = np.random.default_rng(0)
    large = rng.integers(0, 256, (2160, 3840, 3), np.uint8)
    masks = np.zeros((1, 2160, 3840), bool)
    masks[0, :1000, :1000] = True
    large[masks[0]] = PAINT["red"]

    class Large:
        size = (2160, 3840)

        def read(self, t):
            return large

    clip = Clip("v", ("0",), (Expression("v", "0", "the red one moving left"),), Large())
    objects = Objects(a=MaskSequence.binary(masks), b=MaskSequence.binary(~masks))
    sequence = Words("w", input="t", object_words="off").run(clip, {"t": objects})["0"]
    assert sequence.notes["object"] == "a"
    picture = small_picture(large, ~masks[0])
    assert picture[0].shape == picture[1].shape == (180, 320)
