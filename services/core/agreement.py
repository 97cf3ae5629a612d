"""Trust in a label: votes of several teachers, sampled answers of each, and the noise they show.

Consistency is not correctness: a teacher that makes the same error each time agrees with itself.
Only another teacher notices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from services.core.intervals import wilson


@dataclass(frozen=True, slots=True, order=True)
class Agreement:
    """Opinions on an annotation: `agreed` of the `asked` ones match its answer.

    A reply that was declined or cut off is no opinion.
    """

    agreed: int = 0
    asked: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.agreed + other.agreed, self.asked + other.asked)

    @property
    def share(self) -> float:
        """0 to 1; 0 without opinions."""
        return self.agreed / self.asked if self.asked else 0.0

    @property
    def is_outvoted(self) -> bool:
        """Half of the opinions or more contradict the annotation: its answer is probably wrong."""
        return majority(self.agreed, self.asked - self.agreed, self.asked) is False


NOT_SAMPLED = Agreement()


def majority(agreed: int, against: int, voters: int) -> bool | None:
    """Is an annotation right by the votes so far? None: the missing votes decide. A tie is wrong.

    Eq. 1 with a single teacher is the case `voters` = 1: its own vote decides.
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
    """The rate of `count` among `of` cases; 0 cases tell nothing: 0 to 1."""
    found = wilson(count, of)
    return Rate(count, of, found.expected, found.low, found.high)


def kappa(pairs: Mapping[tuple[str, str], int]) -> float | None:
    """Cohen's kappa of two judges: 1 is full agreement, 0 is chance.

    `pairs`: numbers of cases by the verdicts of both. None without cases, or if both gave one and
    the same verdict to all.
    """
    total = sum(pairs.values())
    if not total:
        return None
    one, other = Counter[str](), Counter[str]()
    for (first, second), count in pairs.items():
        one[first] += count
        other[second] += count
    agreed = sum(count for (first, second), count in pairs.items() if first == second) / total
    by_chance = sum(one[verdict] * other[verdict] for verdict in one) / total**2
    return None if by_chance == 1.0 else (agreed - by_chance) / (1.0 - by_chance)


def label_noise(records: Mapping[Agreement, int]) -> Rate:
    """The share of outvoted annotations; `records` counts annotations by their agreement.

    Annotations without an opinion are left out.
    """
    heard = {agreement: count for agreement, count in records.items() if agreement.asked}
    outvoted = sum(count for agreement, count in heard.items() if agreement.is_outvoted)
    return rate(outvoted, sum(heard.values()))
