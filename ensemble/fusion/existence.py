"""Existence: fuses the presences that jurors state for an expression, and decides whether its masks are emptied.

Every rule turns the presences of the jurors, P(the expression refers to something), into one fused presence, and the
expression is emptied if that is below tau. "Any juror says absent", meaning that its presence is below tau, is the same
as "the smallest presence is below tau"; "all say absent" is "the largest is"; "at least k say absent" is "the k-th
smallest is". A sweep over tau therefore needs the fused presences alone.

A juror whose presence is unknown (None) takes no part.
"""

from __future__ import annotations

from collections.abc import Sequence

from rvos_ensemble.ensemble.fusion.presence import mean_presence

RULES = ("any_absent", "all_absent", "k_absent", "mean", "expected_final")
NO_TARGET_SHARE = 3503 / 33072  # of MeViSv2's expressions; Ding et al., arXiv 2512.10945
J_AND_F = ("all", "targets")  # the expressions over which the benchmark averages J&F


def fused_presence(
    presences: Sequence[float | None], rule: str, k: int | None = None, weights: Sequence[float] | None = None
) -> float | None:
    """The presence that a rule compares with tau; None if too few jurors state one: then nothing is decided.

    Args:
        presences: of each juror, in 0..1; None if the juror does not say.
        rule: one of `RULES`.
            `any_absent`: an expression is emptied if at least one juror says absent: the smallest presence.
            `all_absent`: if all jurors say absent, as SaSaSaSa2VA's two jurors: the largest presence.
            `k_absent`: if at least k jurors say absent: the k-th smallest presence; None if fewer than k are known.
            `mean`, `expected_final`: the weighted mean of the presences.
        k: number of jurors of `k_absent`, at least 1.
        weights: of `mean` and `expected_final`, one number >= 0 per juror; None for equal weights.

    Raises:
        ValueError: an unknown rule, or k that is missing or below 1.

    >>> jurors = [0.25, None, 1.0, 0.75]
    >>> [fused_presence(jurors, rule) for rule in ("any_absent", "all_absent")], fused_presence(jurors, "k_absent", 2)
    ([0.25, 1.0], 0.75)
    >>> fused_presence(jurors, "mean", weights=[3, 1, 1, 0]), fused_presence([None, None], "mean")
    (0.4375, None)
    """
    if rule not in RULES:
        raise ValueError(f"rule {rule!r}, expected one of {', '.join(RULES)}")
    known = sorted(p for p in presences if p is not None)
    if rule == "any_absent":
        return known[0] if known else None
    if rule == "all_absent":
        return known[-1] if known else None
    if rule == "k_absent":
        if k is None or k < 1:
            raise ValueError(f"k is {k}, expected the number of jurors who must say absent")
        return known[k - 1] if k <= len(known) else None
    return mean_presence(presences, weights)


def expected_final_tau(jf: float, no_target_share: float = NO_TARGET_SHARE, over: str = "all") -> float:
    """The presence below which emptying an expression raises the expected Final.

    Final = (J&F + N-acc + T-acc) / 3. Let n expressions contain n0 = r n without a target and n1 = (1 - r) n with one,
    p be P(no target) of an expression, and jf the J&F that its masks are expected to have if there is a target.
    Emptying it changes 3 Final in expectation by

        p / n0 - (1 - p) / n1 + (p - (1 - p) jf) / n        J&F over all expressions (`over="all"`)
        p / n0 - (1 - p) / n1 - (1 - p) jf / n1             J&F over those with a target (`over="targets"`)

    since N-acc gains 1 / n0 if there is no target, T-acc loses 1 / n1 if there is one, and J&F, in which an empty
    answer scores 1 and any other 0 if there is no target, gains p and loses (1 - p) jf of one expression. The change
    is positive for p above a threshold that depends on r and jf but not on n. For `over="all"` it is

        p > (1 / (1 - r) + jf) / (1 / r + 1 / (1 - r) + 1 + jf)

    The result is 1 minus this threshold, since presence is 1 - p.

    Exact where n0 and n1 are fixed: Final is a sum over expressions, so that its expectation depends on the marginal
    probabilities p alone, however the targets depend on each other, and deciding each expression by the sign of its own
    change maximises it over all 2^n choices. The p must be the probabilities given those counts; they sum to n0.

    First-order where n0 is uncertain, since E[1 / N0] is not 1 / E[N0]. Over random independent targets and jf, a third
    of the expressions without a target, the choice loses at most 0.013 of expected Final for n = 4, 0.003 for n = 8 and
    0.001 for n = 16, on average below 0.0003. Also approximate is what J&F gains and loses: frames that the masks leave
    empty score 1 even if there is no target, and frames in which the target is not visible score 1 when emptied.

    Args:
        jf: in 0..1.
        no_target_share: r, in (0, 1).
        over: "all" or "targets", see above.

    Source: derived in this project; the share of MeViSv2 is that of its paper, arXiv 2512.10945.

    >>> round(expected_final_tau(jf=0.75), 3)
    0.848
    """
    r = no_target_share
    if over == "all":
        cost, gain = 1 / (1 - r) + jf, 1 / r + 1  # of an empty answer: if there is a target, and if there is none
    else:
        cost, gain = (1 + jf) / (1 - r), 1 / r
    return gain / (gain + cost)
