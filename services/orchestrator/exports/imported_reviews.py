"""Reviews from Label Studio, kept with a run as the explorer keeps its own.

The annotator is the reviewer, and the time is that of Label Studio. A run keeps its questions: a
reviewer who has changed the question rejects the one that was asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.core.errors import InvalidInput, NotFound
from services.core.reviews import Review, ReviewVerdict, checked_review
from services.orchestrator.exports.reviewed_tasks import TaskReview, TaskVerdict
from services.orchestrator.run.ledger.opinions import Label
from services.orchestrator.run.ledger.review_book import writing_reviews
from services.orchestrator.run.run import Run

_VERDICTS = {
    TaskVerdict.ACCEPT: ReviewVerdict.ACCEPT,
    TaskVerdict.CORRECT: ReviewVerdict.CORRECT,
    TaskVerdict.REJECT: ReviewVerdict.REJECT,
}


@dataclass(frozen=True, slots=True)
class ImportedReviews:
    """Numbers of reviews. `added`: by verdict."""

    added: Mapping[str, int]
    known: int
    """Reviews that are not added: that one, or a later one of the same reviewer, is there."""
    other_questions: int
    """Rejections, added or known, of a question that the reviewer has changed."""


def import_reviews(run: Run, found: Sequence[TaskReview]) -> ImportedReviews:
    """Adds the reviews to those of the run, all or none; a repetition adds nothing.

    Raises InvalidInput for a review that can't be used, NotFound for one of another run,
    WrongState if the run can't be written. Each error names the record.
    """
    labels = _Labels(run)
    checked = [(labels.find(each), _review(each)) for each in found]
    checked.sort(key=lambda each: each[1].at)
    added: Counter[str] = Counter()
    if checked:
        with writing_reviews(run.folder) as book, book.at_once():
            for label, review in checked:
                is_new = book.add_later(run.ledger.shelf(label[0]), label, review)
                added[review.verdict] += is_new
    return ImportedReviews(+added, len(checked) - added.total(), sum(map(_is_of_other, found)))


class _Labels:
    """Annotations of a run, each image read once."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._known: dict[str, frozenset[tuple[str, str]]] = {}

    def find(self, of: TaskReview) -> Label:
        """Raises NotFound if the run has no such annotation."""
        if of.image_sha256 not in self._known:
            is_hash = of.image_sha256.isascii()  # half a character can't be asked for
            rows = self._run.ledger.annotations(of.image_sha256) if is_hash else ()
            self._known[of.image_sha256] = frozenset((row.question, row.answer) for row in rows)
        if (of.question_before, of.answer_before) not in self._known[of.image_sha256]:
            raise NotFound(
                f"{_name(of)} is of a question or an answer that the run in {self._run.folder} "
                "does not have: give the run whose export was reviewed"
            )
        return of.image_sha256, of.question_before, of.answer_before


def _review(of: TaskReview) -> Review:
    if not of.reviewer:
        raise InvalidInput(
            f"{_name(of)} does not say whose it is: export it with completed_by, the annotator",
            field="completed_by",
        )
    is_of_other = _is_of_other(of)
    verdict = ReviewVerdict.REJECT if is_of_other else _VERDICTS[of.verdict]
    try:
        return checked_review(of.reviewer, verdict, of.answer, of.answer_before, _seconds(of))
    except InvalidInput as error:
        raise InvalidInput(f"{_name(of)} can't be used: {error}", field=error.field) from error


def _is_of_other(of: TaskReview) -> bool:
    """Whether the reviewer has changed the question: spaces are no change."""
    return of.question.split() != of.question_before.split()


def _seconds(of: TaskReview) -> float:
    """Time of the review in seconds since 1970; without a zone it is UTC's."""
    try:
        at = datetime.fromisoformat(of.at)
    except ValueError as error:
        raise InvalidInput(
            f"its time {of.at[:50]!r} is none: export it with updated_at or created_at",
            field="updated_at",
        ) from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _name(of: TaskReview) -> str:
    who = f" by {of.reviewer[:60]!r}" if of.reviewer else ""
    image = ascii(of.image_sha256[:12])[1:-1]
    return f"the review of image {image}, question {of.number}{who}"
