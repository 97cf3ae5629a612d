"""Can a label be trusted? Opinions on one annotation: votes of several teachers, samples of each; the noise they show.

Consistency is not correctness: a teacher that errs alike each time agrees with itself. Another teacher sees what it doesn't.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.core.intervals import wilson


@dataclass(frozen=True, slots=True, order=True)
class Agreement:
    """Of `asked` opinions on an annotation, `agreed` match its answer. What was declined or cut off is no opinion."""

    agreed: int = 0
    asked: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.agreed + other.agreed, self.asked + other.asked)

    @property
    def share(self) -> float:
        """0 to 1; 0 where nobody had an opinion."""
        return self.agreed / self.asked if self.asked else 0.0

    @property
    def is_outvoted(self) -> bool:
        """Half of the opinions or more are against the annotation: its answer is probably wrong."""
        return majority(self.agreed, self.asked - self.agreed, self.asked) is False


NOT_SAMPLED = Agreement()


def majority(agreed: int, against: int, voters: int) -> bool | None:
    """Is an annotation right by the votes that are in? None: the votes still missing decide. A tie is wrong.

    One voter's own vote decides, so Eq. 1 with a single teacher is the case `voters` = 1.
    """
    if 2 * agreed > voters:
        return True
    if voters and 2 * against >= voters:
        return False
    return None


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` of `of`, with Wilson's 95 % interval `low` to `high`; shares 0 to 1."""

    count: int
    of: int
    share: float
    low: float
    high: float


def rate(count: int, of: int) -> Rate:
    """Nothing is known of 0 cases."""
    found = wilson(count, of)
    return Rate(count, of, found.expected, found.low, found.high)


def label_noise(records: Mapping[Agreement, int]) -> Rate:
    """The share of outvoted annotations; `records` counts them by their agreement. Those without an opinion say nothing."""
    heard = {agreement: count for agreement, count in records.items() if agreement.asked}
    outvoted = sum(count for agreement, count in heard.items() if agreement.is_outvoted)
    return rate(outvoted, sum(heard.values()))
