"""Reviews as they are written: one record, or all records of a choice, by one reviewer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from services.core.errors import Conflict, InvalidInput
from services.core.reviews import Review, ReviewVerdict, checked_review
from services.orchestrator.run.entries import AnnotationName
from services.orchestrator.run.ledger import AnnotationRow, Ledger, browsing
from services.orchestrator.run.ledger.browsing import Place
from services.orchestrator.run.ledger.facets import EntryChoice, Order
from services.orchestrator.run.ledger.opinions import Label
from services.orchestrator.run.ledger.review_book import reading_reviews, writing_reviews
from services.orchestrator.ui.library import OpenedRun

MOST_AT_ONCE = 10_000
"""Most records that are reviewed at once."""
READ_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class BulkReview:
    """A verdict on all records of a choice. `confirmed`: the number that the reviewer has seen."""

    reviewer: str
    verdict: str
    confirmed: str


def review_record(
    opened: OpenedRun, row: AnnotationRow, reviewer: str, verdict: str, correction: str
) -> Review:
    """Raises InvalidInput that names the field, WrongState if the run can't be written."""
    if not row.question:
        raise InvalidInput("a reply without a question can't be reviewed", field="verdict")
    review = checked_review(reviewer, verdict, correction, row.answer, time.time())
    with writing_reviews(opened.run.folder) as book:
        book.add(opened.run.ledger.shelf(row.image_sha256), _label(row), review)
    return review


def review_choice(opened: OpenedRun, choice: EntryChoice, bulk: BulkReview) -> int:
    """Number of records that were reviewed: those that this reviewer has not reviewed before.

    Raises Conflict if their number is not the confirmed one, else as `review_record` does.
    """
    review = checked_review(bulk.reviewer, bulk.verdict, at=time.time())
    if review.verdict is ReviewVerdict.CORRECT:
        raise InvalidInput("a correction is of one record", field="verdict")
    found = browsing.count(opened.catalogue, choice)
    if not found.is_whole or found.entries > MOST_AT_ONCE:
        raise InvalidInput(
            f"at most {MOST_AT_ONCE:,} records can be reviewed at once: choose fewer",
            field="confirmed",
        )
    if bulk.confirmed != str(found.entries):
        raise Conflict(
            f"{bulk.confirmed[:12] or 'no'} records were confirmed, and there are "
            f"{found.entries:,} now: look at the list again, then repeat"
        )
    ledger = opened.run.ledger
    with reading_reviews(opened.run.folder) as known:
        reviewed = known.reviewed_by(review.reviewer) if known else set()
    labels = dict.fromkeys(_labels(ledger, _places(opened, choice)))
    due = [label for label in labels if label not in reviewed]
    with writing_reviews(opened.run.folder) as book, book.at_once():
        for label in due:
            book.add(ledger.shelf(label[0]), label, review)
    return len(due)


def _places(opened: OpenedRun, choice: EntryChoice) -> list[Place]:
    found: list[Place] = []
    after = ""
    while places := browsing.page(opened.catalogue, choice, Order.READ, after, READ_AT_ONCE):
        found += places
        after = places[-1].cursor
    return found


def _labels(ledger: Ledger, places: list[Place]) -> Iterator[Label]:
    """Labels of annotations with a question; refused images have none."""
    image, rows = "", dict[AnnotationName, AnnotationRow]()
    for place in places:
        if place.is_refused_image:
            continue
        if place.image != image:
            image = place.image
            rows = {(image, row.number, row.attempt): row for row in ledger.annotations(image)}
        row = rows.get((image, place.number, place.attempt))
        if row is not None and row.question:
            yield _label(row)


def _label(row: AnnotationRow) -> Label:
    return row.image_sha256, row.question, row.answer
