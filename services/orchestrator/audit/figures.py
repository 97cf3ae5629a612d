"""Table 4: the measures before and after PI, with intervals, and the agreement of raters.

Several raters of an item are averaged, not outvoted: it counts by the share of them that agree.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from services.core import extras
from services.core.intervals import Interval, difference, wilson
from services.orchestrator.audit.criteria import CRITERIA, Criterion
from services.orchestrator.audit.key import DrawnArm, Key
from services.orchestrator.audit.ratings import Ratings


@dataclass(frozen=True, slots=True)
class CriterionShares:
    """One criterion: its share (0 to 1) in each arm, the change, and Krippendorff's alpha.

    `alpha` is None if there is one rater, or if all ratings are equal.
    """

    criterion: Criterion
    shares: Mapping[DrawnArm, Interval]
    change: Interval
    alpha: float | None


@dataclass(frozen=True, slots=True)
class AuditFigures:
    """All figures of an audit; `measured` has the order of the paper's table."""

    raters: Sequence[str]
    measured: Sequence[CriterionShares]


def figures(key: Key, ratings: Sequence[Ratings]) -> AuditFigures:
    """Measure an audit. Raises InvalidInput if the library that measures agreement is missing."""
    return AuditFigures(
        raters=[one.rater for one in ratings],
        measured=[_measure(criterion, key, ratings) for criterion in CRITERIA],
    )


def _measure(criterion: Criterion, key: Key, ratings: Sequence[Ratings]) -> CriterionShares:
    shares = {
        arm: wilson(*_counted(criterion, key.of(arm), ratings), population)
        for arm, population in key.populations.items()
    }
    change = difference(shares[DrawnArm.AFTER], shares[DrawnArm.BEFORE])
    return CriterionShares(criterion, shares, change, alpha(criterion.key, ratings))


def _counted(
    criterion: Criterion, items: Collection[str], ratings: Sequence[Ratings]
) -> tuple[float, int]:
    """Successes and trials; an item on which raters differ is a success in part."""
    given = [one.answers[item][criterion.key] for one in ratings for item in items]
    return given.count(criterion.counted) / len(ratings), len(items)


def alpha(question: str, ratings: Sequence[Ratings]) -> float | None:
    """Krippendorff's alpha of nominal answers to `question`: 1 is full agreement, 0 is chance."""
    answers = [
        (one.rater, item, given[question]) for one in ratings for item, given in one.answers.items()
    ]
    if len(ratings) < 2 or len({value for _, _, value in answers}) < 2:
        return None
    extras.require("nltk", "audit", "the agreement of raters")
    from nltk.metrics.agreement import AnnotationTask

    return float(AnnotationTask(answers).alpha())
