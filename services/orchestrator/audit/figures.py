"""Table 4: the measures before and after PI, with intervals, and how far the raters agree.

Each item counts for the share of its raters that said so, so several raters are averaged, not outvoted.
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
    """One criterion: its share (0 to 1) in each arm, after minus before, and Krippendorff's alpha of the raters.

    `alpha` None: there is one rater, or everybody chose the same throughout, of which chance can't be told.
    """

    criterion: Criterion
    shares: Mapping[DrawnArm, Interval]
    change: Interval
    alpha: float | None


@dataclass(frozen=True, slots=True)
class AuditFigures:
    """`measured`: in the order of the paper's table."""

    raters: Sequence[str]
    measured: Sequence[CriterionShares]


def figures(key: Key, ratings: Sequence[Ratings]) -> AuditFigures:
    """Raises InvalidInput where the library that measures agreement is missing."""
    return AuditFigures(
        [of.rater for of in ratings], [_measure(criterion, key, ratings) for criterion in CRITERIA]
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
    """Successes, where an item on which raters differ is one in part, and trials."""
    said = sum(
        of.answers[item][criterion.key] == criterion.counted for of in ratings for item in items
    )
    return said / len(ratings), len(items)


def alpha(question: str, ratings: Sequence[Ratings]) -> float | None:
    """Krippendorff's alpha of nominal answers to `question`, over all items: 1 is perfect agreement, 0 is chance."""
    answers = [
        (of.rater, item, given[question]) for of in ratings for item, given in of.answers.items()
    ]
    if len(ratings) < 2 or len({value for _, _, value in answers}) < 2:
        return None
    extras.require("nltk", "audit", "the agreement of raters")
    from nltk.metrics.agreement import AnnotationTask

    return float(AnnotationTask(answers).alpha())
