"""Figures of a run's reviews: verdicts, agreement of reviewers, matchers held against people."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, islice

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
from services.orchestrator.run.ledger.catalogue import Catalogue
from services.orchestrator.run.ledger.opinions import Label
from services.orchestrator.run.ledger.review_book import LabelReviews, ReviewBook, count_verdicts
from services.orchestrator.run.ledger.search import Filter, list_questions
from services.orchestrator.run.matching import UNKNOWN, rules
from services.orchestrator.run.run import Run

QUESTION = "verdict"
REVIEWS, REVIEWS_LOOK = "reviews", "reviews_look"
"""Notes of a catalogue: figures of all reviews as JSON, and the look of their file then."""
KEPT, LEFT = "kept", "left out"
MOST_PAIRED = 100
"""Most reviewers of one record that are paired: anybody may write under any name."""
MOST_PAIRS = 5_000
"""Most pairs that are counted: the first to come."""


@dataclass(frozen=True, slots=True)
class ReviewerPair:
    """Two reviewers: the records that both have judged, at least one, and Cohen's kappa.

    `kappa` is None if they have judged all alike.
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
    alpha: float | None = None
    matchers: Sequence[MatcherAgreement] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ReviewFigures:
        """The figures without matchers."""
        known = json.loads(text)
        pairs = [ReviewerPair(**pair) for pair in known["pairs"]]
        return cls(known["states"], known["reviewers"], pairs, known["alpha"])


class ReviewTally:
    """Figures of reviews that come in parts, in the memory of one part.

    All reviews of an annotation are in the same part. A skip is no opinion. Two corrections agree
    if they differ in case alone.
    """

    def __init__(self) -> None:
        self._states: Counter[ReviewState] = Counter()
        self._reviewers: Counter[str] = Counter()
        self._pairs: dict[tuple[str, str], Counter[tuple[str, str]]] = defaultdict(Counter)

    def add(self, part: LabelReviews) -> None:
        for given in part.values():
            if (found := counted(given)) is not None:
                self._states[found.state] += 1
            said = {}
            for reviewer, review in sorted(latest(given).items()):
                has_opinion = review.verdict is not ReviewVerdict.SKIP
                self._reviewers[reviewer] += has_opinion
                if has_opinion:
                    said[reviewer] = opinion(review)
            for one, other in combinations(islice(said, MOST_PAIRED), 2):
                if (one, other) in self._pairs or len(self._pairs) < MOST_PAIRS:
                    self._pairs[one, other][said[one], said[other]] += 1

    def figures(self) -> ReviewFigures:
        """Figures without alpha: its library would double the memory of the explorer."""
        return ReviewFigures(
            states={
                str(state): self._states[state] for state in ReviewState if self._states[state]
            },
            reviewers=dict(sorted(self._reviewers.items())),
            pairs=[
                ReviewerPair(one, other, found.total(), kappa(found))
                for (one, other), found in sorted(self._pairs.items())
            ],
        )


def keep_figures(
    catalogue: Catalogue, reviews: ReviewBook | None, look: str, is_ending: Callable[[], bool]
) -> bool:
    """Counts the reviews into a note of the catalogue, if their `look` has changed since.

    Only one shelf is in memory. Returns whether it came to the end, which `is_ending` prevents.
    """
    if catalogue.note(REVIEWS) and catalogue.note(REVIEWS_LOOK) == look:
        return True
    tally = ReviewTally()
    if reviews is not None:
        for shelf in reviews.last_by_shelf():
            tally.add(reviews.on_shelf(shelf))
            if is_ending():
                return False
    with catalogue.at_once():
        catalogue.set_note(REVIEWS, tally.figures().to_json())
        catalogue.set_note(REVIEWS_LOOK, look)
    return True


def review_figures(reviews: LabelReviews) -> ReviewFigures:
    """Figures without the run. Raises InvalidInput if alpha's library is missing."""
    tally = ReviewTally()
    tally.add(reviews)
    opinions = _opinions([latest(given) for given in reviews.values()])
    ratings = [
        Ratings(reviewer, {item: {QUESTION: said} for item, said in given.items()})
        for reviewer, given in opinions.items()
        if given
    ]
    return replace(tally.figures(), alpha=alpha(QUESTION, ratings))


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


def _label(entry: Entry) -> Label:
    row = entry.annotation
    assert row is not None
    return row.image_sha256, row.question, row.answer


def _of_matcher(cell: str) -> str:
    return LEFT if cell in NOISE else KEPT


def _of_people(verdict: Counted) -> str:
    return KEPT if verdict.state is ReviewState.ACCEPTED else LEFT
