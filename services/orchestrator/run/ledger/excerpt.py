"""The rows about one image, as a text that travels between the ledgers of a run and a cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from services.core.errors import WrongState
from services.orchestrator.run.ledger.ledger import Ledger

COLUMNS = """
SELECT tables.name, columns.name
FROM sqlite_master tables JOIN pragma_table_info(tables.name) columns
WHERE tables.type = 'table'
"""

SHELF = "shelf"
"""Column that is left out: each ledger has its own shelves."""

Cells: TypeAlias = dict[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Rows about an image.

    `rows` of every table that has an `image_sha256`; `meta`: keys that the ledger has
    learned meanwhile, such as the teacher's fingerprint.
    """

    rows: Mapping[str, list[Cells]]
    meta: Mapping[str, str]

    def to_json(self) -> str:
        return json.dumps([self.rows, self.meta], ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Excerpt:
        rows, meta = json.loads(text)
        return cls(rows, meta)


NOTHING = Excerpt({}, {})


class Excerpts:
    """Takes excerpts from a ledger and puts them into it.

    An excerpt names tables and columns, so either ledger may have more of them.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        columns: dict[str, list[str]] = {}
        for table, column in ledger.read(COLUMNS):
            columns.setdefault(table, []).append(column)
        self._tables = {table: names for table, names in columns.items() if "image_sha256" in names}
        self._shelved = {table for table, names in self._tables.items() if SHELF in names}

    def take(self, image_sha256: str, known: Mapping[str, str]) -> Excerpt:
        """Takes the rows of an image, and the meta that the reader doesn't know (`known`)."""
        found = {
            table: self._rows(table, names, image_sha256) for table, names in self._tables.items()
        }
        learned = {
            key: value for key, value in self._ledger.metas().items() if known.get(key) != value
        }
        return Excerpt({table: rows for table, rows in found.items() if rows}, learned)

    def put(self, excerpt: Excerpt) -> None:
        """Adds the excerpt. A row that is there already is replaced by itself.

        Raises WrongState if the excerpt contradicts the ledger: another teacher answered
        than before.
        """
        for key, value in excerpt.meta.items():
            self._learn(key, value)
        for table, rows in excerpt.rows.items():
            for taken in rows:
                row = dict(taken)
                if table in self._shelved:
                    row[SHELF] = self._ledger.shelf(str(taken["image_sha256"]))
                self._ledger.insert(table, row)

    def _learn(self, key: str, value: str) -> None:
        known = self._ledger.meta(key)
        if known and known != value:
            raise WrongState(
                f"the {key} of this run is {known[:12]}, and {value[:12]} answered on the cluster: "
                "let every actor and every replica have the model that this run began with, "
                "or give another --run"
            )
        if not known:
            self._ledger.set_meta(key, value)

    def _rows(self, table: str, names: list[str], image_sha256: str) -> list[Cells]:
        names = [name for name in names if name != SHELF]
        shelf = (
            f"{SHELF} = {self._ledger.shelf(image_sha256)} AND " if table in self._shelved else ""
        )
        found = self._ledger.read(
            f"SELECT {', '.join(names)} FROM {table} WHERE {shelf}image_sha256 = ?", image_sha256
        )
        return [dict(zip(names, row, strict=True)) for row in found]
