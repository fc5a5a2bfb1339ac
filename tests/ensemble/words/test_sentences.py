"""The parser of expressions: real sentences, nothing dropped in silence, and bad input."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvos_ensemble.ensemble.fusion.words import lexicon as lex
from rvos_ensemble.ensemble.fusion.words.colour import BASIC, COLOURS, PROTOTYPES
from rvos_ensemble.ensemble.fusion.words.english import english
from rvos_ensemble.ensemble.fusion.words.sentence import LONGEST, parse

# words that need not be named: they carry no meaning of their own, or only say how the rest is attached
SILENT = {*lex.FILLERS, *lex.GENERIC, *lex.PART_OPENERS, *lex.MOVING, *lex.STILL, *lex.TURNING, *lex.NUMBERS, *lex.ALL}
SILENT |= {*lex.ORDINALS, *"0123456789"}


def cues(text):
    return {(c.kind, c.value) for c in parse(text).cues}


# sentences of Ref-YouTube-VOS and Ref-DAVIS17, and what a reader would note
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a black swan", {("object", "swan"), ("colour", "black")}),
        ("a golden retriever walking in the grass",
         {("object", "retriever"), ("colour", "golden"), ("motion", "moving")}),
        ("a brown and white cow", {("object", "cow"), ("colour", "brown"), ("colour", "white")}),
        ("black and white coloured bike", {("object", "bike"), ("colour", "black"), ("colour", "white")}),
        ("a woman on the left wearing a yellow dress",
         {("object", "woman"), ("place", "left"), ("part colour", "yellow"), ("part", "dress")}),
        ("a girl dancing in blue", {("object", "girl"), ("part colour", "blue")}),
        ("a white car to the right of another car", {("object", "car"), ("colour", "white"), ("place", "right")}),
        ("a dog jumping for a snack going to the left", {("object", "dog"), ("motion", "left")}),
        ("a yellow fish swimming from right to left", {("object", "fish"), ("colour", "yellow"), ("motion", "left")}),
        ("a man on the right in a black jacket",
         {("object", "man"), ("place", "right"), ("part colour", "black"), ("part", "jacket")}),
        ("an owl with orange eyes", {("object", "owl"), ("part colour", "orange"), ("part", "eye")}),
        ("a white coffee cup to the far left", {("object", "coffee cup"), ("colour", "white"), ("order", "left")}),
        ("the smallest goldfish", {("object", "goldfish"), ("size", "small")}),
        ("a girl in the middle", {("object", "girl"), ("place", "middle")}),
        ("a zebra standing in the background", {("object", "zebra"), ("place", "back"), ("motion", "still")}),
        ("a man moving away from the camera", {("object", "man"), ("motion", "farther")}),
        ("the one that turns back", {("motion", "turning")}),
        ("the fastest car", {("object", "car"), ("motion", "fastest")}),
        ("the thing that moves down", {("motion", "down")}),
        ("a man walking down the road", {("object", "man"), ("motion", "moving")}),
        ("a person riding a bike behind others",
         {("object", "person"), ("motion", "moving"), ("part", "bike"), ("place", "back")}),
    ],
)  # fmt: skip
def test_real_sentences(text, expected):
    assert cues(text) == expected


@pytest.mark.parametrize(
    ("text", "unread"),
    [
        ("a frisbee picked up by a person in black", ["picked", "up", "by person", "in black"]),  # he is in black
        ("a black scooter ridden by a man", ["ridden", "by man"]),
        ("a lizard looking to the left", ["looking to the left"]),  # a gaze is no place
        ("an umbrella in his right hand", ["in his right hand"]),
        ("a dog in front of a red car", ["in front", "red car"]),
        ("not a dog", ["not dog"]),
        ("a man without a red helmet", ["without red helmet"]),
        ("a tiger on the right playing with another on the left", ["playing", "another", "on the left"]),
        ("a box in the hands of a man wearing glasses", ["in hands", "man", "wearing glasses"]),
        ("the hands of the second rider", ["second rider"]),
    ],
)
def test_what_was_not_understood_is_named(text, unread):
    assert list(parse(text).not_understood) == unread


@pytest.mark.parametrize(
    ("text", "count"),
    [("two dogs", 2), ("a dog", 1), ("both cars", 2), ("dogs", None), ("all the sheep", None), ("3 men", 3),
     ("all", None),     ("a group of fish", None), ("a pair of shoes", 2), ("0 dogs", None)],
)  # fmt: skip
def test_number(text, count):
    assert parse(text).count == count


@pytest.mark.parametrize(
    ("text", "value", "rank", "noun"),
    [("second dog from the left", "left", 2, "dog"), ("the third person on the right", "right", 3, "person"),
     ("the leftmost car", "left", 1, "car"), ("first girl from the left playing", "left", 1, "girl")],
)  # fmt: skip
def test_order_keeps_its_noun(text, value, rank, noun):
    order, item = parse(text).of("order")[0], parse(text).of("object")[0]
    assert (order.value, order.rank, item.value) == (value, rank, noun)


@pytest.mark.parametrize("text", ["ein schwarzer Hund im Gras", "черная собака", "黒い犬", "un perro corriendo rápido"])
def test_another_language_is_said(text):
    description = parse(text)
    assert not description.cues and "English" in description.note and description.not_understood


@pytest.mark.parametrize("text", ["", "   ", "?!...", "\n\t"])
def test_no_words(text):
    assert parse(text) == parse("") and "no words" in parse(text).note


def test_very_long_sentences_are_cut_and_say_so():
    description = parse("a black dog " + "running fast " * 5000)
    assert f"first {LONGEST} of 10003" in description.note
    assert description.not_understood[-1] == f"{10003 - LONGEST} more words"
    assert ("object", "dog") in {(c.kind, c.value) for c in description.cues}


WORDS = sorted({*english(), "hoverboard", "zxqv", "of", "the", "a", "behind", "another", "two", "second", "from"})


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12))
def test_every_word_is_read_or_named(words):
    description = parse(" ".join(words))
    said = " ".join([*(c.words for c in description.cues), *description.not_understood]).split()
    for word in re.findall(r"[^\W_]+", " ".join(words).replace("t-shirt", "tshirt")):
        assert word in said or word in SILENT, (word, description)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_parsed(text):
    description = parse(text)
    assert description.count is None or 1 <= description.count < 100
    assert len(description.of("object")) <= 1


def test_colour_words_name_basic_colours():
    assert set(PROTOTYPES) == set(BASIC)
    assert all(set(names) <= set(BASIC) and max(names.values()) <= 1 for names in COLOURS.values())
