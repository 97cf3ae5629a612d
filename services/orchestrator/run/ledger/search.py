"""Annotations and refused images by a filter, a page at a time or as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from services.core.errors import InvalidInput
from services.core.parity import Cell
from services.orchestrator.run.ledger.ledger import Ledger
from services.orchestrator.run.ledger.schema import shelf_of

WHOLE = -1
"""Limit of a stream, in SQLite's terms."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions on entries; without any, all are meant.

    `cells`: in one of them. `rejection`: rejected for it ("image": every refused image).
    `question`: with this text in the question, in any case. `usable`: annotations that stand.
    `listed`: in the list that `list_questions` was given.
    """

    cells: tuple[Cell, ...] = ()
    rejection: str = ""
    question: str = ""
    usable: bool = False
    listed: bool = False

    def __post_init__(self) -> None:
        if self.cells and self.rejection:
            raise InvalidInput(
                "rejected annotations are in no cell: ask for a cell or for a reason of rejection"
            )

    @property
    def is_of_one_cell(self) -> bool:
        return len(self.cells) == 1 and not self.question

    @property
    def has_images(self) -> bool:
        """Whether it selects refused images, too."""
        return not (self.cells or self.question or self.usable or self.listed)


def find(
    ledger: Ledger, chosen: Filter, limit: int, offset: int
) -> Iterator[tuple[int, str, int, int]]:
    """Shelf, image sha256, number and attempt of each annotation."""
    clauses, values = _where(ledger, chosen)
    order = _key("q" if chosen.question else "a")
    if chosen.is_of_one_cell:
        order = "r.shelf, r.image_sha256, r.number"
    if chosen.listed:
        order = "l.image_sha256, l.question"
    statement = f"SELECT {_key('a')} FROM {clauses} ORDER BY {order} LIMIT ? OFFSET ?"
    return ledger.read(statement, *values, limit, offset)


def count_found(ledger: Ledger, chosen: Filter) -> int:
    """Number of annotations, without refused images."""
    clauses, values = _where(ledger, chosen)
    return next(int(total) for (total,) in ledger.read(f"SELECT count(*) FROM {clauses}", *values))


def _where(ledger: Ledger, chosen: Filter) -> tuple[str, Sequence[str | int]]:
    """SQL clauses that let SQLite use the right index, and their values."""
    tables = ["annotations a"]
    conditions = ["1"]
    values: list[str | int] = []
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


def require_reason(ledger: Ledger, reason: str) -> None:
    """Raises InvalidInput if nothing was rejected for `reason`; "" is always valid."""
    if not reason or reason == "image":
        return
    found = {
        str(rejection)
        for table in ("annotations", "images")
        for (rejection,) in ledger.read(
            f"SELECT DISTINCT rejection FROM {table} WHERE rejection != ''"
        )
    }
    if reason not in found:
        raise InvalidInput(
            f"nothing was rejected for {reason!r} in this run; "
            f"its reasons are: {', '.join(sorted(found)) or 'none'}"
        )


def refused_paths(ledger: Ledger, reason: str, limit: int, offset: int) -> Iterator[str]:
    """Paths of images that were refused for `reason`; "" or "image" is any reason."""
    known = [] if reason in ("", "image") else [reason]
    statement = (
        "SELECT path FROM images WHERE rejection != ''"
        f"{' AND rejection = ?' if known else ''} LIMIT ? OFFSET ?"
    )
    return (str(path) for (path,) in ledger.read(statement, *known, limit, offset))


def list_questions(ledger: Ledger, questions: Iterable[tuple[str, str]]) -> None:
    """Takes image sha256 and question of the entries that `listed` selects from now on.

    They are in a temporary table, which SQLite keeps on disk.
    """
    ledger.write(
        "CREATE TEMP TABLE IF NOT EXISTS listed (image_sha256 TEXT, question TEXT, "
        "PRIMARY KEY (image_sha256, question)) WITHOUT ROWID"
    )
    with ledger.at_once():
        ledger.write("DELETE FROM listed")
        for sha256, question in questions:
            ledger.write("INSERT OR IGNORE INTO listed VALUES (?, ?)", sha256, question)


def is_listed(ledger: Ledger, image_sha256: str, question: str) -> bool:
    statement = "SELECT 1 FROM listed WHERE image_sha256 = ? AND question = ?"
    return any(ledger.read(statement, image_sha256, question))
