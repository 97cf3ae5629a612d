"""CanaryVerdict on scores of canaries: are they the version's, up to rounding?

Each token's log odds, log(p / (1 - p)), are compared with the reference's. Rounding moves the log
odds of likely and unlikely tokens by about the same amount, so one number, `noise`, is a scale for
all tokens. It is measured with every version (canaries.py).

    size        the root mean square of all differences from a score between the reference's in
                float32 and in bfloat16, over the noise. The more tokens share the noise, the less
                it varies for right weights, and the lower is its limit
    nearness    where on the way to the stale weights (0: the version, 1: the parent's weights in
                one part of the model) the scores are, by a projection in which tokens count
                less that rounding moves more
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest

BOUND = 12.0
"""Largest log odds that count: beyond it, a probability in float32 is 0 or 1."""
SEPARATION = 6.0
"""Distance of stale weights from the version, in accepted noises, from which they can be told."""
OUTLIER = 4.0
"""Largest difference of one token that counts in full with strict canaries, in noises.

Rounding moves a few tokens far.
"""
NEARER = 0.5
"""Largest accepted nearness: halfway to the stale weights."""


class Strictness(StrEnum):
    """Treatment of differing scores."""

    STRICT = "strict"
    LENIENT = "lenient"
    OFF = "off"


LIMITS = {Strictness.STRICT: 1.5, Strictness.LENIENT: 10.0, Strictness.OFF: 10.0}
"""Largest accepted size of the differences, in noises, if few tokens share the noise."""
LEAST_LIMIT, SPREAD = 0.75, 5.5
"""Limit of strict canaries if n tokens share the noise: LEAST_LIMIT + SPREAD / sqrt(n)."""
TOWARD_ROUNDED = 1 / 3
"""Place of the expected scores on the way from those in float32 to those in bfloat16.

Engines round some values alike. At this place right weights vary least (docs/decisions).
"""


@dataclass(frozen=True, slots=True)
class Scores:
    """One canary's log probabilities of its reply's tokens: expected, and found on an engine."""

    expected: Sequence[float]
    """In float32."""
    found: Sequence[float]
    """May be shorter: only the first tokens are compared."""
    stale: Mapping[str, Sequence[float]]
    """Scores with a part of the model left as in the parent, by the part's name."""
    rounded: Sequence[float] = ()
    """Scores of the reference in bfloat16; empty in float32."""


@dataclass(frozen=True, slots=True)
class CanaryVerdict:
    """Result of a comparison."""

    size: float
    """Root mean square of the differences, in noises, without outliers."""
    stale: tuple[str, ...]
    """Parts whose stale weights explain the scores better than the version's own."""
    untold: tuple[str, ...]
    """Parts whose stale weights would change the scores too little to be noticed."""
    nearness: float
    """Largest nearness to stale weights that can be told; 0 if none can."""
    passed: int
    """Canaries whose own differences, which are few, are within the lenient limit."""
    limit: float

    @property
    def is_right(self) -> bool:
        return self.size <= self.limit and not self.stale


def log_odds(logprob: float) -> float:
    """Log odds of a probability's logarithm, within BOUND."""
    rest = -math.expm1(min(logprob, 0.0))
    if rest <= 0.0 or math.isnan(logprob):
        return -BOUND if math.isnan(logprob) else BOUND
    return max(-BOUND, min(BOUND, logprob - math.log(rest)))


def differences(expected: Sequence[float], found: Sequence[float]) -> list[float]:
    """Differences in log odds, token by token, up to the shorter one's end."""
    pairs = zip(expected, found, strict=False)
    return [log_odds(theirs) - log_odds(ours) for ours, theirs in pairs]


def root_mean_square(values: Iterable[float]) -> float:
    """0 without values."""
    squares = [value * value for value in values]
    return math.sqrt(sum(squares) / len(squares)) if squares else 0.0


def judge(scores: Sequence[Scores], noise: float, strictness: Strictness) -> CanaryVerdict:
    """Compare canaries with what was expected of them. `noise`: of one token's log odds."""
    moved = [differences(each.expected, each.found) for each in scores]
    weights = [weight for each in scores for weight in _weights(each, noise)]
    flat = [difference for row in moved for difference in row]
    nearness, untold = {}, []
    for part in sorted({part for each in scores for part in each.stale}):
        way = [
            step
            for each in scores
            for step in differences(each.expected, each.stale[part])[: len(each.found)]
        ]
        square = sum(weight * step * step for weight, step in zip(weights, way, strict=True))
        if square < (SEPARATION * LIMITS[strictness]) ** 2:
            untold.append(part)
            continue
        steps = zip(weights, way, flat, strict=True)
        along = sum(weight * step * difference for weight, step, difference in steps)
        nearness[part] = along / square
    return CanaryVerdict(
        size=_size(scores, noise, strictness),
        stale=tuple(part for part, near in nearness.items() if near > NEARER),
        untold=tuple(untold),
        nearness=max(nearness.values(), default=0.0),
        passed=sum(root_mean_square(row) <= LIMITS[Strictness.LENIENT] * noise for row in moved),
        limit=_limit(scores, strictness),
    )


def _size(scores: Sequence[Scores], noise: float, strictness: Strictness) -> float:
    """Root mean square of the differences, over the noise; both without outliers, if strict."""
    most = OUTLIER * noise if strictness is Strictness.STRICT else math.inf
    moved = [
        difference - TOWARD_ROUNDED * step
        for each in scores
        for difference, step in zip_longest(
            differences(each.expected, each.found), _steps(each), fillvalue=0.0
        )
    ]
    steps = [step for each in scores for step in _steps(each)] or [noise]
    scale = noise * root_mean_square(_cut(steps, most)) / (root_mean_square(steps) or 1.0)
    return root_mean_square(_cut(moved, most)) / (scale or noise)


def _limit(scores: Sequence[Scores], strictness: Strictness) -> float:
    """Largest accepted size: the lower, the more tokens share the noise.

    Their number is the participation ratio of the squared differences that rounding makes.
    """
    most = LIMITS[strictness]
    squares = [step * step for each in scores for step in _steps(each)]
    if strictness is not Strictness.STRICT or not any(squares):
        return most
    tokens = sum(squares) ** 2 / sum(square * square for square in squares)
    return min(most, LEAST_LIMIT + SPREAD / math.sqrt(tokens))


def _steps(scores: Scores) -> list[float]:
    """Differences that rounding makes on the reference engine, for the tokens that are found."""
    return differences(scores.expected, scores.rounded)[: len(scores.found)]


def _cut(values: Iterable[float], most: float) -> Iterator[float]:
    return (max(-most, min(most, value)) for value in values)


def _weights(scores: Scores, noise: float) -> list[float]:
    """Weight of each token: the inverse square of its own noise.

    Stale weights move most the tokens that rounding moves most. Without weights its noise would
    often point to them.
    """
    steps = _steps(scores) or [0.0] * len(scores.found)
    return [1 / (noise * noise + step * step) for step in steps]
