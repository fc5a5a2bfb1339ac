"""The sentences of `shapes` are true of one object alone, judged by the rendered ids, not by the scene."""

import numpy as np
import pytest
from helpers.shapes_reading import GONE, GROWTH, MEANINGS, Seen, check_sentence, named, parse
from hypothesis import given, settings
from hypothesis import strategies as st

from rvos_ensemble.adapters.datasets.shapes.clips import film
from rvos_ensemble.adapters.datasets.shapes.levels import LEVELS, SPLITS
from rvos_ensemble.adapters.datasets.shapes.sentences import VOCABULARY
from rvos_ensemble.adapters.datasets.shapes.things import COLOURS, PATTERNS, SHAPES

SIZE = (72, 128)


def shoot(seed: int, index: int, level=None, frames: int = 24, split: str = "train", most: int = 4):
    return film(split, seed, index, level, np.linspace(0, 1, frames), SIZE, least=0, most=most)


def check(shot) -> dict[str, int]:
    """Asserts that every sentence of a clip is true; returns how often each claim was checked."""
    appearances = [thing.appearance for thing in shot.scene.objects]
    seen, counts = Seen(shot.ids, len(appearances), len(appearances) < len(shot.scene.things)), {}
    texts = [sentence.text for sentence, _ in shot.expressions]
    assert len(set(texts)) == len(texts)
    for sentence, own in shot.expressions:
        what = check_sentence(seen, shot.scene, sentence.text, sentence.by_appearance, own)
        assert not what or len(named(parse(sentence.text)[0], appearances)) > 1, sentence.text  # it is needed
        counts[what] = counts.get(what, 0) + 1
    return counts


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SPLITS), st.integers(0, 2**32 - 1), st.integers(0, 2**31 - 1), st.sampled_from(LEVELS))
def test_sentences_are_true_of_one_object(split, seed, index, level):
    check(shoot(seed, index, level, frames=16, split=split, most=12))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(2, 6), st.floats(0, 0.6), st.floats(0.1, 0.4))
def test_sentences_about_a_part_are_true_of_that_part(index, frames, start, length):
    check(film("train", 0, index, None, np.linspace(start, start + length, frames), SIZE, least=0, most=12))


@pytest.mark.slow
def test_sentences_are_true_of_many_clips():
    for index in range(600):
        check(shoot(7, index, most=12))


def test_every_claim_and_every_word_occurs():
    counts, words = {}, set()
    for index in range(150):
        shot = shoot(3, index, frames=8, most=12)
        words |= {word for sentence, _ in shot.expressions for word in sentence.text.split()}
        for what, times in check(shot).items():
            counts[what] = counts.get(what, 0) + times
    assert words == set(VOCABULARY) and len(VOCABULARY) == len(words) <= 120
    assert {
        *MEANINGS,
        *GONE,
        *GROWTH,
        "that stays in view",
        "largest",
        "smallest",
        "fastest",
        "that spins",
    } <= counts.keys()
    assert {*SHAPES, *COLOURS, *PATTERNS} <= words


def test_the_checker_rejects_a_clip_in_another_order():
    """Sentences that are true forwards are not true backwards, or with permuted ids."""
    lies = caught = 0
    for index in range(30):
        shot = shoot(5, index, frames=12)
        count = len(shot.scene.objects)
        for own, sentence in ((own, s) for s, own in shot.expressions if parse(s.text)[1].startswith("that moves")):
            lies += 1
            measure, enough, _ = MEANINGS[parse(sentence.text)[1]]
            caught += measure(Seen(shot.ids[::-1], count), own - 1) < enough
    assert lies > 5 and caught == lies
