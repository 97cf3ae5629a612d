"""People's reviews in place of the models' verdicts: labels of training and of evaluation.

A person's verdict decides as the teacher's does in Eq. 1: the label is the annotation that was
accepted, or its correction, and the record is in the gap if the student's answer differs from it. A
record that was rejected, or on which people differ, is left out. The ledger's records stay as the
models made them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from services.core.parity import STUDENT_RIGHT, Cell, cell
from services.core.reviews import LEFT_OUT, Counted, ReviewState
from services.orchestrator.run.ledger import Record
from services.orchestrator.run.ledger.opinions import Label
from services.orchestrator.run.ledger.review_book import count_verdicts, reading_reviews
from services.orchestrator.run.run import Run


def settle_reviews(run: Run) -> None:
    """Stores how many reviews the round uses, unless its training is confirmed.

    Call it before samples are chosen: every label of the round is by these reviews, until it is
    called again. Later ones are for a later round. So a confirmed training, however often it is
    interrupted, is on the samples that were confirmed.
    """
    state = run.state
    if state.training_confirmed:
        return
    with reading_reviews(run.folder) as book:
        state.review_limit = book.last_id() if book and state.uses_reviews else 0


def corrected_records(run: Run) -> list[Record]:
    """Every record of the round, with people's verdicts if the run uses them."""
    verdicts = _verdicts(run)
    found = (
        _corrected(run, record, verdicts.get((record.image_sha256, record.question, record.answer)))
        for record in run.ledger.records()
    )
    return [record for record in found if record is not None]


def _verdicts(run: Run) -> Mapping[Label, Counted]:
    limit = run.state.review_limit
    if not limit:
        return {}
    with reading_reviews(run.folder) as book:
        return count_verdicts(book.every(limit)) if book else {}


def _corrected(run: Run, record: Record, verdict: Counted | None) -> Record | None:
    if verdict is None or verdict.state is ReviewState.SKIPPED:
        return record
    if verdict.state in LEFT_OUT:
        return None
    label = verdict.correction or record.answer
    student_right = _is_student_right(run, record, label)
    return replace(
        record,
        answer=label,
        cell=cell(student_right=student_right, teacher_right=True),
        reviewed=str(verdict.state),
    )


def _is_student_right(run: Run, record: Record, label: str) -> bool:
    base = run.state.the_base.name
    given = run.ledger.answer(record.image_sha256, record.question, "student", base)
    if given is None or label == record.answer:
        return record.cell in STUDENT_RIGHT | {Cell.NOISE_STUDENT_RIGHT}
    return run.settings.the_student_matcher.matches(given.answer, label)
