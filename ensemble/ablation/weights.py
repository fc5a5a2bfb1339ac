"""Searches the number of votes of each input of a vote step on one half of the clips and reports on the other half.

With four inputs and weights 0..3 there are 256 choices, and the best of many choices scores better on the clips it was
chosen on than on others. Therefore the clips are split in halves by a seed; the search uses one half only, and its
choice is scored on the other. With a share as threshold, weights in the same proportion are the same vote and are tried
once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import product
from math import gcd

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import unknown_key
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.fusion import whole_votes
from rvos_ensemble.ensemble.recipe.recipe import Recipe

Weights = tuple[int, ...]
MOST_LISTED = 100_000  # choices that are counted to see whether all of them can be tried


def vote_step(recipe: Recipe, wanted: str | None) -> str:
    """The vote step whose weights are searched: the one named, else the output, else the last vote before it.

    Raises:
        InputError: the output needs no such step.
    """
    needed = recipe.needed()
    votes = [n for n, s in recipe.steps.items() if n in needed and s.counts_votes and len(s.inputs) > 1]
    if not votes:
        raise InputError(
            f"ablate=weights: output {recipe.output} of recipe {recipe.name} needs no vote over several inputs"
        )
    if wanted is not None and wanted not in votes:
        raise InputError(unknown_key(wanted, votes, "ablate.step"))
    return wanted or (recipe.output if recipe.output in votes else votes[-1])


def halves(clips: Sequence[Clip], seed: int, title: str = "ablate=weights") -> tuple[list[Clip], list[Clip]]:
    """Two halves of the clips, determined by the seed alone; the first may have one clip more.

    Raises:
        InputError: fewer than four clips.
    """
    if len(clips) < 4:
        raise InputError(f"{title}: {len(clips)} clips, expected at least 4: a half to choose on, one to report")
    order = np.random.default_rng(seed).permutation(len(clips))
    middle = (len(clips) + 1) // 2
    return tuple(sorted((clips[i] for i in half), key=lambda c: c.name) for half in (order[:middle], order[middle:]))


def search(
    start: Weights, choices: Sequence[int], budget: int, seed: int, shares: bool, score: Callable[[list[Weights]], list]
) -> dict[Weights, float]:
    """Tries all weights where the budget allows; otherwise random weights, then neighbours of the best so far.

    Args:
        start: the weights of the recipe, which are tried first.
        choices: values that a weight may have.
        budget: number of weights to try.
        seed: of the random weights.
        shares: the threshold is a share of the votes, so that only the proportion of weights matters.
        score: list of weights -> one number each, higher is better, NaN where a recipe refuses them.

    Returns:
        {weights: score}, in the order in which they were tried.
    """
    inputs, choices, plain = len(start), sorted(choices), simplest if shares else tuple
    tried: dict[Weights, float] = {}

    def attempt(candidates: Iterable[Weights]) -> bool:
        fresh = [w for w in dict.fromkeys(map(plain, candidates)) if any(w) and w not in tried][: budget - len(tried)]
        if fresh:
            tried.update(zip(fresh, score(fresh), strict=True))
        return bool(fresh)

    attempt([start])
    if len(choices) ** inputs <= MOST_LISTED:
        every = {plain(w) for w in product(choices, repeat=inputs) if any(w)}
        if len(every | set(tried)) <= budget:
            attempt(sorted(every))
            return tried
    rng = np.random.default_rng(seed)

    def random(number: int) -> list[Weights]:
        return [tuple(w) for w in rng.choice(choices, (number, inputs)).tolist()]

    attempt(random(budget // 2))
    while len(tried) < budget:
        best = max(tried, key=lambda w: -np.inf if np.isnan(tried[w]) else tried[w])
        if not attempt(_neighbours(best, choices)) and not attempt(random(8 * budget)):
            break  # a local maximum, and no untried weights elsewhere
    return tried


def simplest(weights: Weights) -> Weights:
    """The smallest whole numbers in the same proportion.

    >>> simplest((2, 4, 0)), simplest((3, 3)), simplest((0, 0)), simplest((0.6, 0.2))
    ((1, 2, 0), (1, 1), (0, 0), (3, 1))
    """
    votes = whole_votes(len(weights), weights)[0] if any(weights) else weights
    common = reduce(gcd, votes) or 1
    return tuple(w // common for w in votes)


def _neighbours(weights: Weights, choices: Sequence[int]) -> Iterator[Weights]:
    """Weights that differ in one place, nearest values first."""
    for i, w in enumerate(weights):
        for other in sorted(choices, key=lambda c: abs(c - w)):
            if other != w:
                yield (*weights[:i], other, *weights[i + 1 :])
