"""The entries of a ledger for people and tools: an annotation with all that became of it, or an image that was refused.

By image and number, shelf by shelf, so that what is about one image comes together: a page at a time, or as a stream of
constant memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from services.core.agreement import NOT_SAMPLED, Agreement
from services.core.errors import InvalidInput
from services.core.parity import Cell
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow, ImageRow, Ledger, shelf_of
from services.orchestrator.run.opinions import samples_of
from services.orchestrator.run.state import State

WHOLE = -1
"""The limit of a stream, to SQLite."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries: those in `cells`, or rejected for `rejection` ("image": every refused image), or whose question holds
    `question`, whatever its case. Without any, all of them. `usable`: annotations that stand. `listed`: those in the temporary
    table `listed (image_sha256, question)`, which whoever asks for it has made.
    """

    cells: tuple[Cell, ...] = ()
    rejection: str = ""
    question: str = ""
    usable: bool = False
    listed: bool = False

    def __post_init__(self) -> None:
        if self.cells and self.rejection:
            raise InvalidInput(
                "what was rejected is in no cell: ask for a cell or for a reason of rejection"
            )

    @property
    def is_of_one_cell(self) -> bool:
        return len(self.cells) == 1 and not self.question

    @property
    def has_images(self) -> bool:
        """Do refused images belong to it?"""
        return not (self.cells or self.question or self.usable or self.listed)


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
    _require_reason(ledger, chosen.rejection)
    state = State(ledger)
    version, teachers = state.base.name if state.base else "", state.teachers
    read, image, rows = 0, ImageRow("", ""), list[AnnotationRow]()
    for _, image_sha256, number, attempt in _keys(ledger, chosen, limit, offset):
        if image.sha256 != image_sha256:
            image, rows = _accepted(ledger, image_sha256), ledger.annotations(image_sha256)
        row = next(row for row in rows if (row.number, row.attempt) == (number, attempt))
        yield _entry(ledger, image, row, version, teachers)
        read += 1
    if chosen.has_images and (limit == WHOLE or read < limit):
        skipped = max(0, offset - count_entries(ledger, chosen)) if offset and not read else 0
        yield from map(
            Entry, _refused(ledger, chosen, WHOLE if limit == WHOLE else limit - read, skipped)
        )


def _keys(
    ledger: Ledger, chosen: Filter, limit: int, offset: int
) -> Iterator[tuple[int, str, int, int]]:
    clauses, values = _where(ledger, chosen)
    order = (
        "r.shelf, r.image_sha256, r.number"
        if chosen.is_of_one_cell
        else _key("q" if chosen.question else "a")
    )
    order = "l.image_sha256, l.question" if chosen.listed else order
    statement = f"SELECT {_key('a')} FROM {clauses} ORDER BY {order} LIMIT ? OFFSET ?"
    return ledger.read(statement, *values, limit, offset)


def count_entries(ledger: Ledger, chosen: Filter) -> int:
    """Annotations alone; the refused images that go with them are left out."""
    clauses, values = _where(ledger, chosen)
    return next(int(total) for (total,) in ledger.read(f"SELECT count(*) FROM {clauses}", *values))


def _where(ledger: Ledger, chosen: Filter) -> tuple[str, Sequence[str | int]]:
    """The annotations that are asked for, in the words that let SQLite take the index for them."""
    tables, conditions, values = ["annotations a"], ["1"], list[str | int]()
    if chosen.question:  # read from its own index, row by row of which the rest is looked up
        tables.insert(0, "annotations q")
        conditions += [r"q.question LIKE ? ESCAPE '\'", f"({_key('q')}) = ({_key('a')})"]
        values += [f"%{_escaped(chosen.question)}%"]
    if chosen.cells:
        tables.insert(0 if chosen.is_of_one_cell else len(tables), "records r")
        cells = ", ".join("?" * len(chosen.cells))
        conditions += [
            "a.shelf = r.shelf AND a.image_sha256 = r.image_sha256 AND a.number = r.number",
            f"r.round = ? AND r.cell IN ({cells})",
        ]
        values += [ledger.round, *map(str, chosen.cells)]
    if chosen.listed:
        tables.insert(0, "listed l")
        on_its_shelf = f"a.shelf = {shelf_of('l.image_sha256')}"
        conditions += [
            f"{on_its_shelf} AND l.image_sha256 = a.image_sha256 AND l.question = a.question"
        ]
    if chosen.cells or chosen.usable or chosen.listed:
        conditions += ["a.rejection = ''"]
    if chosen.rejection:
        conditions += ["a.rejection != '' AND a.rejection = ?"]
        values += [chosen.rejection]
    return f"{' CROSS JOIN '.join(tables)} WHERE {' AND '.join(conditions)}", values


def _key(table: str) -> str:
    return f"{table}.shelf, {table}.image_sha256, {table}.number, {table}.attempt"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


def _require_reason(ledger: Ledger, reason: str) -> None:
    found = {
        str(rejection)
        for table in (("annotations", "images") if reason else ())
        for (rejection,) in ledger.read(
            f"SELECT DISTINCT rejection FROM {table} WHERE rejection != ''"
        )
    }
    if reason and reason not in {*found, "image"}:
        raise InvalidInput(
            f"nothing was rejected for {reason!r} in this run; there is: {', '.join(sorted(found)) or 'nothing'}"
        )


def _refused(ledger: Ledger, chosen: Filter, limit: int, offset: int) -> Iterator[ImageRow]:
    reason = "" if chosen.rejection == "image" else chosen.rejection
    statement = (
        "SELECT path FROM images WHERE rejection != ''"
        + (" AND rejection = ?" if reason else "")
        + " LIMIT ? OFFSET ?"
    )
    for (path,) in ledger.read(statement, *([reason] if reason else []), limit, offset):
        row = ledger.image(path)
        assert row is not None
        yield row


def _accepted(ledger: Ledger, image_sha256: str) -> ImageRow:
    paths = ledger.read("SELECT path FROM images WHERE sha256 = ? AND rejection = ''", image_sha256)
    row = next((ledger.image(path) for (path,) in paths), None)
    return row or ImageRow("", image_sha256)


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
    key = (ledger.shelf(image.sha256), image.sha256, row.number, ledger.round)
    statement = "SELECT cell, matcher, student_matcher FROM records WHERE (shelf, image_sha256, number, round) = (?, ?, ?, ?)"
    for cell, matcher, of_student in () if row.rejection else ledger.read(statement, *key):
        entry = replace(
            entry, cell=Cell(cell), matcher=matcher, student_matcher=of_student or matcher
        )
    return entry
