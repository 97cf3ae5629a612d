"""Table 8: how many errors of the sample are of each category, by machine or by raters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from services.core.intervals import Interval, wilson
from services.core.knowledge_gaps import CATEGORIES, Category
from services.orchestrator.audit.figures import alpha
from services.orchestrator.audit.key import DrawnArm, Key
from services.orchestrator.audit.ratings import Ratings
from services.orchestrator.audit.studies import CATEGORY
from services.orchestrator.audit.tagging import Tagged


@dataclass(frozen=True, slots=True)
class CategoryShare:
    """`category` None: undecided. `count`: an error on which raters differ counts in part in each of its categories.

    `share`: of all errors, 0 to 1. `by_rule`: of the count.
    """

    category: Category | None
    count: float
    share: Interval
    by_rule: int = 0


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Every category of the task in the paper's order. `by`: who said so; `alpha`: see figures.py."""

    task: str
    by: Sequence[str]
    asked: int
    errors: int
    population: int
    parts: Sequence[CategoryShare]
    alpha: float | None = None


def of_tags(tagged: Tagged) -> Breakdown:
    """Undecided errors stand last, where there are any."""
    counts = Counter(tag.category for tag in tagged.tags)
    by_rule = Counter(tag.category for tag in tagged.tags if tag.is_by_rule)
    named: list[Category | None] = [*CATEGORIES[tagged.task], *([None] if counts[None] else [])]
    total = len(tagged.tags)
    parts = [
        CategoryShare(of, counts[of], wilson(counts[of], total, tagged.population), by_rule[of])
        for of in named
    ]
    return Breakdown(
        tagged.task,
        sorted({tag.by for tag in tagged.tags if tag.by}),
        tagged.asked,
        total,
        tagged.population,
        parts,
    )


def of_ratings(key: Key, ratings: Sequence[Ratings]) -> Breakdown:
    """Each error counts for the share of its raters that named the category."""
    counts = Counter(given[CATEGORY] for of in ratings for given in of.answers.values())
    total, population = len(key.items), key.populations[DrawnArm.AFTER]
    parts = [
        CategoryShare(of, count := counts[of.name] / len(ratings), wilson(count, total, population))
        for of in CATEGORIES[key.task]
    ]
    raters = [of.rater for of in ratings]
    return Breakdown(
        key.task, raters, key.asked, total, population, parts, alpha(CATEGORY, ratings)
    )
