"""Statistics: how certain a share, a mean or a difference is that was measured on a sample."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable
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


def bootstrap(
    scores: Iterable[tuple[str, float]], *, level: float = 0.95, seed: int = 0
) -> Interval:
    """Mean of (group, score) with its percentile interval; without scores 0 to 0.

    Groups are drawn, not scores: questions about one image belong together. Given differences of
    two models, it is the paired interval.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for group, score in scores:
        groups[group].append(score)
    sums = [(sum(of_group), len(of_group)) for of_group in groups.values()]
    if not sums:
        return Interval(0.0, 0.0, 0.0)
    draw = random.Random(seed)
    means = sorted(_mean(draw.choices(sums, k=len(sums))) for _ in range(RESAMPLES))
    edge = round((1 - level) / 2 * RESAMPLES)
    return Interval(_mean(sums), means[edge], means[-edge - 1])


def _mean(sums: Iterable[tuple[float, int]]) -> float:
    totals, counts = zip(*sums, strict=True)
    return float(sum(totals) / sum(counts))


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
