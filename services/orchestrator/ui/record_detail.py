"""Content of the page of one record: everything that the ledger has on it, and its neighbours."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from services.core.answers import MATCHERS
from services.core.errors import NotFound
from services.core.reviews import Counted, Review, counted, latest
from services.orchestrator.run.columns import columns
from services.orchestrator.run.entries import Entry, read_named, read_refused
from services.orchestrator.run.ledger import AnswerRow, browsing, evidence
from services.orchestrator.run.ledger.browsing import Place
from services.orchestrator.run.ledger.evidence import StoredOpinion, StoredScore
from services.orchestrator.run.ledger.losses import StoredLosses, losses_of
from services.orchestrator.run.ledger.neighbours import neighbours
from services.orchestrator.run.ledger.opinions import Label
from services.orchestrator.run.ledger.review_book import may_review, reading_reviews
from services.orchestrator.run.settings import Settings
from services.orchestrator.ui.choosing import Wish
from services.orchestrator.ui.library import OpenedRun
from services.orchestrator.ui.run_list import Document

MOST_COMPARED = 50_000
"""Most pairs of characters of an answer and its annotation: some matchers look at each pair."""


@dataclass(frozen=True, slots=True)
class MatchedAnswer:
    """An answer, and whether each matcher finds it equal to the annotation.

    `matches` by the matcher's name; None if the answer is too long to try.
    """

    answer: AnswerRow
    matches: dict[str, bool] | None


@dataclass(frozen=True, slots=True)
class RecordDetail:
    """The page. `before` and `after`: neighbours in the list that it was opened from.

    `reviews`: all of them, in their order, with those that later ones have replaced.
    """

    run: str
    wish: Wish
    settings: Settings
    entry: Entry
    answers: tuple[MatchedAnswer, ...] = ()
    opinions: tuple[StoredOpinion, ...] = ()
    scores: tuple[StoredScore, ...] = ()
    losses: tuple[StoredLosses, ...] = ()
    before: Place | None = None
    after: Place | None = None
    reviews: tuple[Review, ...] = ()
    may_review: bool = False

    @property
    def counted(self) -> Counted | None:
        """The verdict that counts."""
        return counted(self.reviews)

    @property
    def last_reviews(self) -> list[Review]:
        """The last review of each reviewer."""
        return list(latest(self.reviews).values())

    def document(self) -> Document:
        return {
            "run": self.run,
            **columns(self.entry, self.settings),
            "answers": [
                {**asdict(matched.answer), "matches": matched.matches} for matched in self.answers
            ],
            "opinions": [asdict(opinion) for opinion in self.opinions],
            "scores": [asdict(score) for score in self.scores],
            "losses": [{**asdict(losses), "mean": losses.mean} for losses in self.losses],
            "reviews": [asdict(review) for review in self.reviews],
            "reviewed": asdict(self.counted) if self.counted else None,
        }


def read_record(opened: OpenedRun, key: str, wish: Wish) -> RecordDetail:
    """Raises NotFound if the run has no such record."""
    image, number, attempt = _parts(key)
    ledger = opened.run.ledger
    (entry,) = read_named(ledger, [(image, number, attempt)])
    row = entry.annotation
    assert row is not None
    own_id = browsing.id_of(opened.catalogue, ledger.shelf(image), image, number, attempt)
    before, after = (
        neighbours(opened.catalogue, wish.choice, wish.order, own_id) if own_id else (None, None)
    )
    return RecordDetail(
        run=opened.name,
        wish=wish,
        settings=opened.run.settings,
        entry=entry,
        answers=tuple(
            MatchedAnswer(answer, _matches(answer.answer, row.answer))
            for answer in evidence.answers_to(ledger, image, row.question)
        ),
        opinions=tuple(evidence.opinions_on(ledger, (image, row.question, row.answer))),
        scores=tuple(evidence.held_out_scores(ledger, image, row.question)),
        losses=tuple(losses_of(ledger, image, row.question)),
        before=before,
        after=after,
        reviews=_reviews(opened, (image, row.question, row.answer)),
        may_review=may_review(opened.run.folder),
    )


def read_refused_image(opened: OpenedRun, path: str) -> RecordDetail:
    """Raises NotFound if the run has refused no image of this path."""
    entry = read_refused(opened.run.ledger, path)
    return RecordDetail(opened.name, Wish(), opened.run.settings, entry)


def _reviews(opened: OpenedRun, label: Label) -> tuple[Review, ...]:
    with reading_reviews(opened.run.folder) as book:
        if book is None:
            return ()
        found = book.of_image(opened.run.ledger.shelf(label[0]), label[0])
        return tuple(found.get(label, ()))


def _parts(key: str) -> tuple[str, int, int]:
    image, _, rest = key.partition("-")
    number, _, attempt = rest.partition("-")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in (number, attempt)):
        raise NotFound(f"{key!r} is no record: follow a link of the list of records")
    return image, int(number), int(attempt)


def _matches(answer: str, annotation: str) -> dict[str, bool] | None:
    if len(answer) * len(annotation) > MOST_COMPARED:
        return None
    return {name: matcher.matches(answer, annotation) for name, matcher in MATCHERS.items()}
