"""Figures of a run's reviews: verdicts, agreement of reviewers, matchers held against people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from services.core.agreement import kappa
from services.core.parity import NOISE
from services.core.reviews import (
    Counted,
    Review,
    ReviewState,
    ReviewVerdict,
    counted,
    latest,
    opinion,
)
from services.orchestrator.audit.figures import alpha
from services.orchestrator.audit.ratings import Ratings
from services.orchestrator.run.entries import Entry, read_entries
from services.orchestrator.run.ledger.opinions import Label
from services.orchestrator.run.ledger.review_book import LabelReviews, count_verdicts
from services.orchestrator.run.ledger.search import Filter, list_questions
from services.orchestrator.run.matching import UNKNOWN, rules
from services.orchestrator.run.run import Run

QUESTION = "verdict"
KEPT, LEFT = "kept", "left out"


@dataclass(frozen=True, slots=True)
class ReviewerPair:
    """Two reviewers: the records that both have judged, and Cohen's kappa.

    `kappa` is None if they have judged none, or all alike.
    """

    one: str
    other: str
    records: int
    kappa: float | None


@dataclass(frozen=True, slots=True)
class MatcherAgreement:
    """A matcher against people, on `records` that people have judged.

    The matcher keeps an annotation that a model's answer confirms; people keep one that they
    accept. `wrongly_kept`, `wrongly_left`: the records on which they differ. `kappa` as above.
    """

    matcher: str
    records: int
    wrongly_kept: int
    wrongly_left: int
    kappa: float | None


@dataclass(frozen=True, slots=True)
class ReviewFigures:
    """`states`: records by the verdict that counts. `reviewers`: records that each has judged.

    `alpha`: Krippendorff's, of all reviewers; None for a single one.
    """

    states: Mapping[str, int]
    reviewers: Mapping[str, int]
    pairs: Sequence[ReviewerPair]
    alpha: float | None
    matchers: Sequence[MatcherAgreement] = ()


def review_figures(reviews: LabelReviews, *, has_alpha: bool = True) -> ReviewFigures:
    """Figures without the run. Raises InvalidInput if alpha's library is missing.

    A skip is no opinion. Two corrections agree if they differ in case alone.
    """
    last = [latest(given) for given in reviews.values()]
    opinions = _opinions(last)
    states = Counter(
        str(found.state) for given in reviews.values() if (found := counted(given)) is not None
    )
    ratings = [
        Ratings(reviewer, {item: {QUESTION: said} for item, said in given.items()})
        for reviewer, given in opinions.items()
        if given
    ]
    return ReviewFigures(
        states={str(state): states[state] for state in ReviewState if states[state]},
        reviewers={reviewer: len(given) for reviewer, given in opinions.items()},
        pairs=[_pair(opinions, one, other) for one, other in combinations(opinions, 2)],
        alpha=alpha(QUESTION, ratings) if has_alpha else None,
    )


def hold_matchers(run: Run, reviews: LabelReviews) -> list[MatcherAgreement]:
    """The run's own matchers and all others against the verdicts that count."""
    verdicts = {
        label: found
        for label, found in count_verdicts(reviews).items()
        if found.state not in (ReviewState.SKIPPED, ReviewState.DISPUTED)
    }
    list_questions(run.ledger, ((image, question) for image, question, _ in verdicts))
    compared = rules(run)
    counts: dict[str, Counter[tuple[str, str]]] = {rule.name: Counter() for rule in compared}
    for entry in read_entries(run.ledger, Filter(listed=True)):
        found = verdicts.get(_label(entry))
        if found is None or entry.student is None:
            continue
        for rule in compared:
            cell = rule.cell(entry, run.settings.teachers)
            if cell != UNKNOWN:
                counts[rule.name][_of_matcher(cell), _of_people(found)] += 1
    return [
        MatcherAgreement(name, pairs.total(), pairs[KEPT, LEFT], pairs[LEFT, KEPT], kappa(pairs))
        for name, pairs in counts.items()
    ]


def _opinions(last: Sequence[Mapping[str, Review]]) -> dict[str, dict[str, str]]:
    """Opinion by item, by reviewer; an item is the number of a record."""
    found: dict[str, dict[str, str]] = {}
    for item, given in enumerate(last):
        for reviewer, review in given.items():
            of_reviewer = found.setdefault(reviewer, {})
            if review.verdict is not ReviewVerdict.SKIP:
                of_reviewer[str(item)] = opinion(review)
    return dict(sorted(found.items()))


def _pair(opinions: Mapping[str, Mapping[str, str]], one: str, other: str) -> ReviewerPair:
    shared = opinions[one].keys() & opinions[other].keys()
    pairs = Counter((opinions[one][item], opinions[other][item]) for item in shared)
    return ReviewerPair(one, other, len(shared), kappa(pairs))


def _label(entry: Entry) -> Label:
    row = entry.annotation
    assert row is not None
    return row.image_sha256, row.question, row.answer


def _of_matcher(cell: str) -> str:
    return LEFT if cell in NOISE else KEPT


def _of_people(verdict: Counted) -> str:
    return KEPT if verdict.state is ReviewState.ACCEPTED else LEFT
