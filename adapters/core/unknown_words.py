"""The message about expressions with words that a network has not learned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rvos_ensemble.adapters.core.messages import first_few


def unknown_word_problems(
    clip: str, who: str, unknown: Mapping[str, Sequence[str]], known: Iterable[str], advice: str
) -> list[str]:
    """Two sentences: the words of a clip that a small network does not know; those it knows, the same for every clip.

    Args:
        clip: its name.
        who: the network.
        unknown: {sentence: its unknown words}; sentences without any are left out.
        known: all words of the network.
        advice: what to do.

    >>> for line in unknown_word_problems("bear", "soc_nano", {"a brown bear": ["bear"]}, ["brown", "a"], "Rephrase."):
    ...     print(line)
    clip 'bear': soc_nano knows only the words of `shapes`, not: bear (in: a brown bear). Rephrase.
    soc_nano knows these words: a, brown
    """
    sentences = {sentence: words for sentence, words in unknown.items() if words}
    if not sentences:
        return []
    words = dict.fromkeys(word for of in sentences.values() for word in of)
    return [
        f"clip {clip!r}: {who} knows only the words of `shapes`, not: {first_few(words, 10)} "
        f"(in: {first_few(sentences, 3)}). {advice}",
        f"{who} knows these words: {', '.join(sorted(known))}",
    ]
