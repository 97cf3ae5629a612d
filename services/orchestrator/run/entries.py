"""Entries of a ledger for people and tools: annotations with their answers, and refused images.

They are sorted by shelf, image and number, so everything about one image is together.
Read them a page at a time, or as a stream in constant memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from services.core.agreement import NOT_SAMPLED, Agreement
from services.core.errors import NotFound
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

AnnotationName = tuple[str, int, int]
"""Sha256 of the image, number and attempt."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An annotation with everything that followed from it, or a refused image.

    `annotation` is None for a refused image, `student` if the student was not asked,
    `cell` if the annotation was not identified. `matcher` and `student_matcher` decided
    on the cell. `samples`: agreement of the sampled answers with the annotation.
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
        """Answer of the first teacher that was asked; the only one unless several vote."""
        return self.teachers[0] if self.teachers else None

    @property
    def rejection(self) -> str:
        return self.annotation.rejection if self.annotation else self.image.rejection


def read_entries(
    ledger: Ledger, chosen: Filter, limit: int = WHOLE, offset: int = 0
) -> Iterator[Entry]:
    """Reads annotations first, then refused images.

    Raises InvalidInput for a reason that nothing was rejected for.
    """
    search.require_reason(ledger, chosen.rejection)
    state = State(ledger)
    version = state.base.name if state.base else ""
    teachers = state.teachers
    read = 0
    image = ImageRow("", "")
    rows: list[AnnotationRow] = []
    for _, image_sha256, number, attempt in search.find(ledger, chosen, limit, offset):
        if image.sha256 != image_sha256:
            image = _accepted(ledger, image_sha256)
            rows = ledger.annotations(image_sha256)
        row = next(row for row in rows if (row.number, row.attempt) == (number, attempt))
        yield _entry(ledger, image, row, version, teachers)
        read += 1
    if chosen.has_images and (limit == WHOLE or read < limit):
        skipped = max(0, offset - search.count_found(ledger, chosen)) if offset and not read else 0
        yield from map(
            Entry, _refused(ledger, chosen, WHOLE if limit == WHOLE else limit - read, skipped)
        )


def read_named(ledger: Ledger, names: Iterable[AnnotationName]) -> Iterator[Entry]:
    """Reads annotations by their names, in that order.

    Raises NotFound for a name that the run doesn't have.
    """
    state = State(ledger)
    version = state.base.name if state.base else ""
    teachers = state.teachers
    for image_sha256, number, attempt in names:
        for row in ledger.annotations(image_sha256):
            if (row.number, row.attempt) == (number, attempt):
                yield _entry(ledger, _accepted(ledger, image_sha256), row, version, teachers)
                break
        else:
            raise NotFound(
                f"this run has no record {image_sha256[:12]}, question {number}, attempt {attempt}"
            )


def read_refused(ledger: Ledger, path: str) -> Entry:
    """One refused image. Raises NotFound if the run has refused none of this path."""
    row = ledger.image(path)
    if row is None or not row.rejection:
        raise NotFound(f"this run has refused no image {path!r}")
    return Entry(row)


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
