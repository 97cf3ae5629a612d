"""Reliability of a model's probabilities: is it right as often as it says?

Answers are put into bins by the probability that the model gives them. The expected calibration
error is the mean distance of a bin's share of right answers from its mean probability, weighted by
the answers in it (Guo et al., 2017, On Calibration of Modern Neural Networks).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.core.intervals import Interval, wilson

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers with similar probabilities. `probabilities`: their sum."""

    answers: int = 0
    right: int = 0
    probabilities: float = 0.0

    @property
    def probability(self) -> float:
        """Mean probability, 0 to 1; 0 without answers."""
        return self.probabilities / self.answers if self.answers else 0.0

    @property
    def share(self) -> Interval:
        """Share of right answers, 0 to 1, with Wilson's interval."""
        return wilson(self.right, self.answers)


@dataclass(frozen=True, slots=True)
class Reliability:
    """Bins of equal width, from probability 0 to 1."""

    bins: tuple[Bin, ...] = (Bin(),) * BINS

    @property
    def answers(self) -> int:
        return sum(part.answers for part in self.bins)

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1; 0 without answers."""
        distances = (abs(part.right - part.probabilities) for part in self.bins)
        return sum(distances) / self.answers if self.answers else 0.0


NO_ANSWERS = Reliability()


def reliability(answers: Iterable[tuple[float, bool]]) -> Reliability:
    """Reliability of answers, each with its probability (0 to 1) and whether it is right."""
    bins = [Bin()] * BINS
    for probability, is_right in answers:
        at = min(BINS - 1, int(probability * BINS))
        before = bins[at]
        bins[at] = Bin(
            before.answers + 1, before.right + is_right, before.probabilities + probability
        )
    return Reliability(tuple(bins))
