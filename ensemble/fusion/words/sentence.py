"""What a sentence says about the object that it refers to, as far as simple rules of English can tell.

The parser knows the form of most referring expressions: a noun with words before it ("a small black dog"), and phrases
after it ("on the left", "wearing a red hat", "walking to the right", "behind a car"). It understands no relation
between objects, and it says so: `Description.not_understood` names every word that had no effect.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from rvos_ensemble.ensemble.fusion.words import lexicon as lex
from rvos_ensemble.ensemble.fusion.words.colour import COLOURS
from rvos_ensemble.ensemble.fusion.words.description import Cue, Description
from rvos_ensemble.ensemble.fusion.words.english import is_english
from rvos_ensemble.ensemble.fusion.words.phrases import PHRASES

_NUMBER = re.compile("[1-9][0-9]?")
LAST = 1 << 20  # position behind every sentence
LONGEST_NAME = 4  # words of a noun and what stands before it
LONGEST = 60  # words that are read; Ref-YouTube-VOS has at most 30


@dataclass
class _Reading:
    """The state of the parser."""

    cues: list[Cue] = field(default_factory=list)
    count: int | None = 1
    unread: list[tuple[int, str]] = field(default_factory=list)  # position in the sentence, words

    def add(self, kind: str, value: str, words: str, rank: int = 1) -> None:
        words, said = words.strip(), [i for i, c in enumerate(self.cues) if (c.kind, c.value) == (kind, value)]
        if (kind, OPPOSITES.get(value)) in {(c.kind, c.value) for c in self.cues}:
            self.unread.append((LAST, words))  # "on the right playing with one on the left": the first is the object's
        elif said:
            self.cues[said[0]] = replace(self.cues[said[0]], words=f"{self.cues[said[0]].words} {words}")
        else:
            self.cues.append(Cue(kind, value, words, rank))


def parse(text: str) -> Description:
    """Reads an expression.

    >>> d = parse("a woman on the left wearing a yellow dress")
    >>> [(c.kind, c.value) for c in d.cues]
    [('place', 'left'), ('object', 'woman'), ('part colour', 'yellow'), ('part', 'dress')]
    >>> parse("two dogs next to a car").count, parse("two dogs next to a car").not_understood
    (2, ('next car',))
    """
    words = re.findall(r"[^\W_]+", text.lower().replace("t-shirt", "tshirt"))
    if not words:
        return Description(note="the sentence has no words")
    if not is_english(words):
        return Description(not_understood=tuple(words[:LONGEST]), note="the sentence does not look English")
    reading = _Reading()
    rest = _read_phrases(" " + " ".join(words[:LONGEST]) + " ", reading)
    chunks = _chunks(rest)
    _read_chunks(chunks, reading)
    if len(words) > LONGEST:
        reading.unread.append((LAST, f"{len(words) - LONGEST} more words"))
    note = f"only the first {LONGEST} of {len(words)} words were read" if len(words) > LONGEST else ""
    unread = tuple(words for _, words in sorted(reading.unread))
    return Description(tuple(reading.cues), reading.count, unread, note)


def _read_phrases(sentence: str, reading: _Reading) -> str:
    """Reads the fixed phrases, and replaces each by a bar of equal length, so that positions are kept."""

    def read(kind: str, value: str, match: re.Match) -> str:
        words = match.group().strip()
        named = {k: v for k, v in match.groupdict().items() if v}
        if kind == "unread":
            reading.unread.append((match.start(), words))
        else:
            side = SIDES.get(named.get("side", ""), named.get("side", ""))
            reading.add(kind, value.format(side=side), words, lex.ORDINALS.get(named.get("rank", ""), 1))
        keep = named.get("noun", "")  # "first girl from the left": the noun stays in the sentence
        return " " + keep + " " * max(0, len(match.group()) - len(keep) - 3) + "| "

    for pattern, kind, value in PHRASES:
        sentence = pattern.sub(lambda m, kind=kind, value=value: read(kind, value, m), sentence)
    return sentence


SIDES = {
    **{"centre": "middle", "center": "middle", "leftmost": "left", "rightmost": "right", "upper": "top"},
    **{"lower": "bottom", "leftwards": "left", "rightwards": "right", "leftward": "left", "rightward": "right"},
    **{"upwards": "up", "downwards": "down", "upward": "up", "downward": "down"},
}


PAIRS = (
    *(("left", "right"), ("top", "bottom"), ("front", "back"), ("small", "large"), ("still", "moving")),
    ("nearer", "farther"),
)
OPPOSITES = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}


@dataclass
class _Chunk:
    """A part of a sentence: the word that opens it, its other words, and its position."""

    opener: str
    words: list[str]
    start: int


def _chunks(sentence: str) -> list[_Chunk]:
    """The sentence cut before prepositions and verbs, and at bars."""
    chunks, before = [_Chunk("", [], 0)], ""
    for match in re.finditer(r"\||\w+", sentence):
        word = match.group()
        if _opens(word, before):
            same = word == "and" and chunks[-1].opener in lex.PART_OPENERS  # "wearing a cap and shorts"
            opener = chunks[-1].opener if same else "" if word == "|" else word
            chunks.append(_Chunk(opener, [], match.start()))
        else:
            chunks[-1].words.append(word)
        before = word
    return [c for c in chunks if c.opener or any(w not in lex.FILLERS for w in c.words)]


def _opens(word: str, before: str) -> bool:
    """Whether a new part of the sentence begins with a word.

    Args:
        word: the word.
        before: the word before it.
    """
    if word == "of":  # "a group of fish" is about fish
        return before not in lex.ALL | lex.NUMBERS.keys() | {"one", "all"}
    if word == "and":  # "black and white"
        return before not in COLOURS
    if word in ("|", "which", "that", "who", "while") or word in lex.PART_OPENERS | lex.LANDMARK_OPENERS:
        return True
    verb = word.endswith("ing") and len(word) > 4 and word not in lex.NOUNS_IN_ING
    verb = verb or word in lex.VERBS | lex.MOVING | lex.STILL | lex.TURNING
    return verb and before not in ("a", "an", "the")  # "a racing track"


def _read_chunks(chunks: list[_Chunk], reading: _Reading) -> None:
    """Reads the head, and what is said about it afterwards."""
    head_read, landmark = False, ""
    for chunk in chunks:
        words = [w for w in chunk.words if w not in lex.FILLERS]
        opener = chunk.opener
        if not head_read and words and opener not in lex.LANDMARK_OPENERS:
            before = _motion(opener, reading) or opener in lex.FILLERS or not opener
            if not before and opener not in lex.PART_OPENERS:
                reading.unread.append((chunk.start, opener))
            _read_head(words, chunk.start, reading)
            head_read = True
        elif landmark and not (opener in ("wearing", "dressed") and landmark not in lex.PEOPLE):
            if not _motion(opener, reading) or words:
                _unread(chunk, reading, opener not in lex.MOVING | lex.STILL)
            landmark = words[-1] if words and opener in lex.LANDMARK_OPENERS else landmark
        elif opener in lex.PART_OPENERS and not (words and words[-1] in lex.SCENE):
            _motion(opener, reading)
            _read_part(words, chunk, reading)
        elif _motion(opener, reading):
            landmark = words[-1] if words else landmark
            if words:
                _unread(chunk, reading, False)
        elif opener and not words and opener in lex.FILLERS | lex.VERBS and opener in ("is", "are", "being"):
            continue
        elif not opener and all(w in COLOURS or w in lex.NUMBERS for w in words):
            _read_head([*words], chunk.start, reading)
        else:
            _unread(chunk, reading, True)
            landmark = words[-1] if words else landmark or "?" * (opener in lex.LANDMARK_OPENERS)


def _unread(chunk: _Chunk, reading: _Reading, with_opener: bool) -> None:
    """Notes that a chunk was not understood."""
    words = [w for w in chunk.words if w not in lex.FILLERS]
    opener = [chunk.opener] if with_opener and chunk.opener not in lex.FILLERS | {""} else []
    if words or opener:
        reading.unread.append((chunk.start, " ".join([*opener, *words])))


def _motion(word: str, reading: _Reading) -> bool:
    """Reads a verb of motion or rest; whether it is one."""
    for words, value in ((lex.MOVING, "moving"), (lex.STILL, "still"), (lex.TURNING, "turning")):
        if word in words:
            if not any(c.kind == "motion" and c.value != "still" for c in reading.cues) or value != "moving":
                reading.add("motion", value, word)
            return True
    return False


def _read_head(words: list[str], start: int, reading: _Reading) -> None:
    """Reads the noun of the sentence and the words before it."""
    nouns = [w for w in words if not _is_quality(w)]
    noun = nouns[-1] if nouns else None
    people = noun in lex.PEOPLE
    compound, unknown = [], []
    words, first = words[-LONGEST_NAME:], words[:-LONGEST_NAME]
    unknown += [w for w in first if not _is_quality(w)]
    words = [w for w in first if _is_quality(w)] + words
    for word in words:
        if word in lex.NUMBERS:
            reading.count = lex.NUMBERS[word]
        elif _NUMBER.fullmatch(word):
            reading.count = int(word)
        elif word in lex.ALL and (word != noun or word in lex.QUANTIFIERS):
            reading.count = None
        elif word in COLOURS:
            reading.add("part colour" if people else "colour", word, word)
        elif word in lex.SMALL | lex.LARGE | lex.TALL and word != noun:
            size = "small" if word in lex.SMALL else "tall" if word in lex.TALL else "large"
            reading.add("size", size, word)
        elif word in lex.SPEEDS:
            reading.add("motion", lex.SPEEDS[word], word)
        elif word in lex.ORDINALS:
            unknown.append(word)
        elif word is not noun and word not in lex.GENERIC:
            compound.append(word)
    if noun is None or noun in lex.GENERIC | lex.QUANTIFIERS:
        unknown += compound
    else:
        if lex.is_plural(noun) and reading.count == 1:
            reading.count = None
        reading.add("object", " ".join([*compound, lex.singular(noun)]), " ".join([*compound, noun]))
    if unknown:
        reading.unread.append((start, " ".join(unknown)))


def _is_quality(word: str) -> bool:
    """Whether a word before a noun is an adjective or a number that the parser reads."""
    sizes = lex.SMALL - {"baby"} | lex.LARGE - {"adult"} | lex.TALL
    return (
        word in COLOURS
        or word in sizes
        or word in lex.NUMBERS
        or word in lex.ORDINALS
        or _NUMBER.fullmatch(word) is not None
    )


def _read_part(words: list[str], chunk: _Chunk, reading: _Reading) -> None:
    """Reads something that belongs to the object: its clothes, a part of it, or what it holds or rides."""
    unknown = []
    for word in words:
        if word in COLOURS:
            kind = "part colour" if chunk.opener not in ("riding", "holding", "carrying") else None
            reading.add(kind, word, word) if kind else unknown.append(word)
        elif word is words[-1] and word not in lex.GENERIC:
            reading.add("part", lex.singular(word), word)
        else:
            unknown.append(word)
    if unknown:
        reading.unread.append((chunk.start, " ".join(unknown)))
