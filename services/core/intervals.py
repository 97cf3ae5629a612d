"""Statistics: how certain a share, a mean or a difference is that was measured on a sample."""

from __future__ import annotations

import math
import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Z_95 = 1.959963984540054
"""Standard score of a two-sided 95 % interval."""
RESAMPLES = 2000
"""Draws of a bootstrap."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval, of 95 % unless stated otherwise."""

    expected: float
    low: float
    high: float

    def times(self, factor: float) -> Interval:
        return Interval(self.expected * factor, self.low * factor, self.high * factor)


def wilson(
    successes: float, trials: int, population: int | None = None, z: float = Z_95
) -> Interval:
    """Share of `successes`, 0 to 1, with Wilson's score interval (Wilson, 1927).

    A trial may succeed in part: one image with one of its two questions counts half.
    `population`: the number of items from which the trials were drawn without replacement. A
    sample of all of them leaves no doubt. Without trials nothing is known: 0 to 1.
    """
    if not trials:
        return Interval(0.0, 0.0, 1.0)
    share = successes / trials
    if population is not None and trials >= population:
        return Interval(share, share, share)
    count = trials if population is None else trials * (population - 1) / (population - trials)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    middle = share + z * z / (2 * count)
    scale = 1 + z * z / count
    return Interval(share, max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))


def difference(one: Interval, other: Interval) -> Interval:
    """One share minus another of separate samples, from their Wilson intervals.

    The method is Newcombe's (1998, method 10).
    """
    expected = one.expected - other.expected
    below = math.hypot(one.expected - one.low, other.high - other.expected)
    above = math.hypot(one.high - one.expected, other.expected - other.low)
    return Interval(expected, expected - below, expected + above)


def paired_difference(
    won: float, lost: float, questions: float, *, level: float = 0.95
) -> Interval:
    """Difference of two shares of the same questions, -1 to 1, with Tango's score interval.

    `won`: questions that only the one gets right, `lost`: those that only the other does. Scores in
    between count in part, which makes the interval wider, never narrower. It holds for few
    questions and for none that differ, where a bootstrap would promise certainty (Tango, 1998,
    Statistics in Medicine 17, 891-908). Without questions nothing is known: -1 to 1.
    """
    if not questions:
        return Interval(0.0, -1.0, 1.0)
    z = statistics.NormalDist().inv_cdf((1 + level) / 2)

    def is_within(difference: float) -> bool:
        b = -won - lost + (2 * questions - won + lost) * difference
        c = -lost * difference * (1 - difference)
        both = (math.sqrt(max(0.0, b * b - 8 * questions * c)) - b) / (4 * questions)
        variance = questions * (2 * both + difference * (1 - difference))
        return (won - lost - questions * difference) ** 2 <= z * z * max(0.0, variance)

    expected = (won - lost) / questions
    low = _edge(is_within, expected, -1.0)
    return Interval(expected, low, _edge(is_within, expected, 1.0))


def _edge(is_within: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where the interval ends between a value inside and the last possible one, by halving."""
    if is_within(outside):
        return outside
    for _ in range(40):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if is_within(middle) else (inside, middle)
    return inside


def bootstrap(
    scores: Iterable[tuple[str, float]], *, level: float = 0.95, seed: int = 0
) -> Interval:
    """Mean of (group, score) with its percentile interval; without scores 0 to 0.

    Groups are drawn, not scores: questions about one image belong together. Given differences of
    two models, it is the paired interval.
    """
    rows = list(scores)
    groups = [group for group, _ in rows]
    return paired([[score for _, score in rows]], groups, level=level, seed=seed).interval


@dataclass(frozen=True, slots=True)
class Effect:
    """A mean difference with its interval, and the two-sided p-value that there is none."""

    interval: Interval
    p: float


def paired(
    by_seed: Sequence[Sequence[float]],
    groups: Sequence[str],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Effect:
    """Effect of differences: of each seed one per question, in the order of `groups`.

    Both seeds and groups are drawn, so that the effect holds for other seeds and for other
    questions. Of S seeds S - 1 are drawn: the variance of the drawn means would be too small
    otherwise (Rao and Wu, 1988). A single seed says nothing about others. If seeds differ much more
    than questions do, five of them are too few: the interval then holds in 17 of 20 cases, not in
    19. `p` is that of a normal distribution with the standard error of the draws.
    """
    if not groups:
        return Effect(Interval(0.0, 0.0, 0.0), 1.0)
    draw = random.Random(seed)
    seeds = range(len(by_seed))
    sums: dict[tuple[int, ...], list[complex]] = {}

    def drawn_mean() -> float:
        chosen = tuple(sorted(draw.choices(seeds, k=len(seeds) - 1))) if len(seeds) > 1 else (0,)
        if chosen not in sums:
            sums[chosen] = _sums([by_seed[of] for of in chosen], groups)
        return _mean(draw.choices(sums[chosen], k=len(sums[chosen])))

    means = sorted(drawn_mean() for _ in range(RESAMPLES))
    edge = round((1 - level) / 2 * RESAMPLES)
    expected = _mean(_sums(by_seed, groups))
    error = statistics.pstdev(means)
    found = math.erfc(abs(expected) / error / math.sqrt(2)) if error else float(expected == 0.0)
    return Effect(Interval(expected, means[edge], means[-edge - 1]), found)


def _sums(by_seed: Sequence[Sequence[float]], groups: Sequence[str]) -> list[complex]:
    """Sum of a group's scores as real part, their number as imaginary part: added at once."""
    found: dict[str, complex] = defaultdict(complex)
    for scores in by_seed:
        for group, score in zip(groups, scores, strict=True):
            found[group] += complex(score, 1.0)
    return list(found.values())


def _mean(sums: Iterable[complex]) -> float:
    total = sum(sums)
    return total.real / total.imag


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several tests, adjusted so that any false finding is as rare as stated.

    The method is Holm's (1979), step-down; the tests may depend on each other.
    """
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    in_order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, at in enumerate(in_order):
        largest = max(largest, (len(p_values) - rank) * p_values[at])
        adjusted[at] = min(1.0, largest)
    return adjusted


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Rank correlation of two scores of the same items; None if either ranks nothing.

    Equal scores share their mean rank.
    """
    try:
        return statistics.correlation(_ranks(one), _ranks(other))
    except statistics.StatisticsError:
        return None


def _ranks(scores: Sequence[float]) -> list[float]:
    in_order = sorted(scores)
    return [in_order.index(score) + (in_order.count(score) - 1) / 2 for score in scores]


def mcnemar_p(fixed: int, broken: int) -> float:
    """Two-sided exact McNemar test of two models on the same questions.

    The probability of a split of the changed answers at least this uneven, if both models were
    equally good.
    """
    changed = fixed + broken
    if changed == 0:
        return 1.0
    tail = 0
    ways = 1  # changed choose k, exactly
    for k in range(min(fixed, broken) + 1):
        tail += ways
        ways = ways * (changed - k) // (k + 1)
    return float(min(1.0, 2 * tail / 2**changed))


def format_p(p: float) -> str:
    """A p-value for people: "= 0.03", or "< 1e-99" if more digits would say nothing."""
    return f"= {p:.2g}" if p >= 1e-99 else "< 1e-99"
