"""How sure a share is that was measured on a sample: Wilson's score interval (Wilson, 1927)."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z_95 = 1.959963984540054
"""Two-sided 95 %."""


@dataclass(frozen=True, slots=True)
class Interval:
    expected: float
    low: float
    high: float

    def times(self, factor: float) -> Interval:
        return Interval(self.expected * factor, self.low * factor, self.high * factor)


def wilson(
    successes: float, trials: int, population: int | None = None, z: float = Z_95
) -> Interval:
    """The share of `successes`, 0 to 1. A trial may succeed in part: one image with one of its two questions counts half.

    `population`: how many there are in all, of which the trials were drawn without replacement; a sample of all of them is
    no estimate. Without trials nothing is known: 0 to 1.
    """
    if not trials:
        return Interval(0.0, 0.0, 1.0)
    share = successes / trials
    if population is not None and trials >= population:
        return Interval(share, share, share)
    count = trials if population is None else trials * (population - 1) / (population - trials)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    middle, scale = share + z * z / (2 * count), 1 + z * z / count
    return Interval(share, max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))


def difference(one: Interval, other: Interval) -> Interval:
    """One share minus another, of samples drawn apart: Newcombe's interval from their Wilson intervals (1998, method 10)."""
    expected = one.expected - other.expected
    below = math.hypot(one.expected - one.low, other.high - other.expected)
    above = math.hypot(one.high - one.expected, other.expected - other.low)
    return Interval(expected, expected - below, expected + above)
