"""The entries of a ledger for people and tools: an annotation with all that became of it, or an image that was refused.

By image and number, shelf by shelf, so that what is about one image comes together: a page at a time, or as a stream of
constant memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from services.core.agreement import NOT_SAMPLED, Agreement
from services.core.parity import Cell
from services.orchestrator.run.ledger import (
    AnnotationRow,
    AnswerRow,
    ImageRow,
    Ledger,
    search,
)
from services.orchestrator.run.ledger.opinions import samples_of
from services.orchestrator.run.ledger.search import WHOLE, Filter
from services.orchestrator.run.state import State


@dataclass(frozen=True, slots=True)
class Entry:
    """`annotation` None: the image was refused. `student` None: it was not asked. `teachers`: what those answered that were.

    `cell` None where it was not identified; `matcher`, `student_matcher` decided on it. `samples`: how many of the answers that
    were sampled agree with the annotation.
    """

    image: ImageRow
    annotation: AnnotationRow | None = None
    student: AnswerRow | None = None
    teachers: tuple[AnswerRow, ...] = ()
    cell: Cell | None = None
    matcher: str = ""
    student_matcher: str = ""
    samples: Agreement = NOT_SAMPLED

    @property
    def teacher(self) -> AnswerRow | None:
        """What the first that was asked said; it is the only one unless several vote."""
        return self.teachers[0] if self.teachers else None

    @property
    def rejection(self) -> str:
        return self.annotation.rejection if self.annotation else self.image.rejection


def read_entries(
    ledger: Ledger, chosen: Filter, limit: int = WHOLE, offset: int = 0
) -> Iterator[Entry]:
    """Annotations first, refused images after them. Raises InvalidInput for a reason that nothing was rejected for."""
    search.require_reason(ledger, chosen.rejection)
    state = State(ledger)
    version, teachers = state.base.name if state.base else "", state.teachers
    read, image, rows = 0, ImageRow("", ""), list[AnnotationRow]()
    for _, image_sha256, number, attempt in search.find(ledger, chosen, limit, offset):
        if image.sha256 != image_sha256:
            image, rows = _accepted(ledger, image_sha256), ledger.annotations(image_sha256)
        row = next(row for row in rows if (row.number, row.attempt) == (number, attempt))
        yield _entry(ledger, image, row, version, teachers)
        read += 1
    if chosen.has_images and (limit == WHOLE or read < limit):
        skipped = max(0, offset - search.count_found(ledger, chosen)) if offset and not read else 0
        yield from map(
            Entry, _refused(ledger, chosen, WHOLE if limit == WHOLE else limit - read, skipped)
        )


def _refused(ledger: Ledger, chosen: Filter, limit: int, offset: int) -> Iterator[ImageRow]:
    for path in search.refused_paths(ledger, chosen.rejection, limit, offset):
        row = ledger.image(path)
        assert row is not None
        yield row


def _accepted(ledger: Ledger, image_sha256: str) -> ImageRow:
    path = ledger.path_of(image_sha256)
    return (ledger.image(path) if path else None) or ImageRow("", image_sha256)


def _entry(
    ledger: Ledger, image: ImageRow, row: AnnotationRow, version: str, teachers: Sequence[str]
) -> Entry:
    if row.rejection and not row.question:
        return Entry(image, row)
    student = ledger.answer(row.image_sha256, row.question, "student", version)
    given = (
        ledger.answer(row.image_sha256, row.question, "teacher", teacher) for teacher in teachers
    )
    entry = Entry(
        image,
        row,
        student,
        tuple(answer for answer in given if answer),
        samples=samples_of(ledger, (row.image_sha256, row.question, row.answer)),
    )
    if row.rejection:
        return entry
    decided = ledger.decision(image.sha256, row.number)
    if decided is None:
        return entry
    cell, matcher, student_matcher = decided
    return replace(entry, cell=cell, matcher=matcher, student_matcher=student_matcher)
