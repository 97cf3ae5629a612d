"""Table 8: the errors of a sample by category, decided by machine or by raters."""

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
    """One category's errors. `category` is None for undecided ones.

    `count`: an error on which raters differ counts in part in each category. `share` is of all
    errors, 0 to 1. `by_rule`: the part of the count that a rule decided.
    """

    category: Category | None
    count: float
    share: Interval
    by_rule: int = 0


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Every category of the task in the paper's order.

    `by`: the rules, judges or raters that decided. `alpha`: see figures.py.
    """

    task: str
    by: Sequence[str]
    asked: int
    errors: int
    population: int
    parts: Sequence[CategoryShare]
    alpha: float | None = None


def of_tags(tagged: Tagged) -> Breakdown:
    """The breakdown by machine; undecided errors come last, if there are any."""
    counts = Counter(tag.category for tag in tagged.tags)
    by_rule = Counter(tag.category for tag in tagged.tags if tag.is_by_rule)
    named: list[Category | None] = [*CATEGORIES[tagged.task], *([None] if counts[None] else [])]
    total = len(tagged.tags)
    parts = []
    for category in named:
        count = counts[category]
        share = wilson(count, total, tagged.population)
        parts.append(CategoryShare(category, count, share, by_rule[category]))
    return Breakdown(
        task=tagged.task,
        by=sorted({tag.by for tag in tagged.tags if tag.by}),
        asked=tagged.asked,
        errors=total,
        population=tagged.population,
        parts=parts,
    )


def of_ratings(key: Key, ratings: Sequence[Ratings]) -> Breakdown:
    """The breakdown by raters: an error counts by the share of its raters that chose a category."""
    counts = Counter(given[CATEGORY] for one in ratings for given in one.answers.values())
    total = len(key.items)
    population = key.populations[DrawnArm.AFTER]
    parts = []
    for category in CATEGORIES[key.task]:
        count = counts[category.name] / len(ratings)
        parts.append(CategoryShare(category, count, wilson(count, total, population)))
    return Breakdown(
        task=key.task,
        by=[one.rater for one in ratings],
        asked=key.asked,
        errors=total,
        population=population,
        parts=parts,
        alpha=alpha(CATEGORY, ratings),
    )
