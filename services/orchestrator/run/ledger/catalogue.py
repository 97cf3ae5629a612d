"""The catalogue of a ledger: its entries by facet and by word, in a file of its own.

The ledger stays as it is, whoever writes it. The catalogue is made from it (renewal.py), and may
be deleted at any time. Entries are counted as they are put in: a count reads one row for each
combination of facets, not one for each entry.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from services.orchestrator.run.ledger.database import Database
from services.orchestrator.run.ledger.facets import MOST_KINDS, RARE, Facet, Values
from services.orchestrator.run.ledger.shelves import Shelved

CATALOGUE_SCHEMA = "3"
COLUMNS = ", ".join(Facet)
TABLES = f"""
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shelves (shelf INTEGER PRIMARY KEY, mark TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tokens (
    id INTEGER PRIMARY KEY, facet TEXT NOT NULL, value TEXT NOT NULL, UNIQUE (facet, value));
CREATE TABLE IF NOT EXISTS combinations (
    id INTEGER PRIMARY KEY, {", ".join(f"{facet} TEXT NOT NULL" for facet in Facet)},
    entries INTEGER NOT NULL DEFAULT 0, UNIQUE ({COLUMNS}));
-- checksum: of the searched texts. loss, logprob: NULL if there is none.
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, shelf INTEGER NOT NULL, image TEXT NOT NULL,
    number INTEGER NOT NULL, attempt INTEGER NOT NULL,
    combination INTEGER NOT NULL, checksum INTEGER NOT NULL, loss REAL, logprob REAL,
    UNIQUE (shelf, image, number, attempt));
CREATE INDEX IF NOT EXISTS by_loss ON entries (combination, loss, id) WHERE loss IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_logprob
    ON entries (combination, logprob, id) WHERE logprob IS NOT NULL;
-- facets: a token for each value that the entry has.
CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5 (
    words, facets, columnsize = 0, tokenize = "unicode61 remove_diacritics 2");
"""
KNOWN = """
SELECT image, number, attempt, id, combination, checksum, loss, logprob FROM entries WHERE shelf = ?
"""
ENTRY = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
TEXT = "INSERT INTO texts (rowid, words, facets) VALUES (?, ?, ?)"
COUNT = "UPDATE combinations SET entries = entries + ? WHERE id = ?"
KINDS = "SELECT count(*) FROM tokens WHERE facet = 'kind'"
KIND_AT = list(Facet).index(Facet.KIND)


class Catalogue(Database):
    """The file. Queries are in browsing.py, and renewal.py writes it.

    Open it again after a failed write: ids that were rolled back are still in memory.
    """

    noun = "catalogue"
    if_full, if_damaged = "free space, then repeat", "delete it, and it is made again"

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path, read_only=read_only)
        if not read_only:
            self.run_script(TABLES)
        self._combinations: dict[Values, int] = {}
        self._tokens: dict[tuple[str, str], int] = {}

    def note(self, key: str) -> str:
        """The text under `key`; "" if there is none."""
        return next(
            (text for (text,) in self.read("SELECT value FROM meta WHERE key = ?", key)), ""
        )

    def set_note(self, key: str, text: str) -> None:
        self.write("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, text)

    def marks(self) -> dict[int, str]:
        """Mark of each shelf at the time when it was put in."""
        return dict(self.read("SELECT shelf, mark FROM shelves"))

    def token(self, facet: str, value: str) -> int:
        """Id of a value that an entry has; 0 if none has had it."""
        rows = self.read("SELECT id FROM tokens WHERE facet = ? AND value = ?", facet, value)
        return next((int(found) for (found,) in rows), 0)

    def put_shelf(self, shelf: int, mark: str, found: Iterable[Shelved]) -> None:
        """Replaces the entries of a shelf. An entry that was there before keeps its id.

        Call it within `at_once`.
        """
        self.write("INSERT OR REPLACE INTO shelves VALUES (?, ?)", shelf, mark)
        known = {tuple(row[:3]): row[3:] for row in self.read(KNOWN, shelf)}
        counts: Counter[int] = Counter()
        for entry in found:
            key = (entry.image, entry.number, entry.attempt)
            values = self._bounded(entry.values)
            combination = self._combination(values)
            checksum = zlib.crc32(entry.words.encode(errors="replace"))
            entry_id, *before = known.pop(key, (0,))
            now = [combination, checksum, entry.loss, entry.logprob]
            if before == now:
                continue
            if entry_id:
                self._remove(entry_id, before[0], counts)
            entry_id = entry_id or self._next_id()
            self.write(ENTRY, entry_id, shelf, *key, *now)
            tokens = (
                f"v{self._token(facet, value)}"
                for facet, value in zip(Facet, values, strict=True)
                if value
            )
            self.write(TEXT, entry_id, entry.words, " ".join(tokens))
            counts[combination] += 1
        for entry_id, combination, *_ in known.values():
            self._remove(entry_id, combination, counts)
        for combination, difference in counts.items():
            self.write(COUNT, difference, combination)

    def _remove(self, entry_id: int, combination: int, counts: Counter[int]) -> None:
        self.write("DELETE FROM entries WHERE id = ?", entry_id)
        self.write("DELETE FROM texts WHERE rowid = ?", entry_id)
        counts[combination] -= 1

    def _next_id(self) -> int:
        ((last,),) = self.read("SELECT max(id) FROM entries")
        return int(last or 0) + 1

    def _bounded(self, values: Values) -> Values:
        """The same values, with a kind that was found after MOST_KINDS others as RARE."""
        kind = values[KIND_AT]
        if not kind or (Facet.KIND, kind) in self._tokens or self.token(Facet.KIND, kind):
            return values
        ((kinds,),) = self.read(KINDS)
        if kinds < MOST_KINDS:
            return values
        return (*values[:KIND_AT], RARE, *values[KIND_AT + 1 :])

    def _combination(self, values: Values) -> int:
        if values not in self._combinations:
            marks = ", ".join("?" * len(values))
            self.write(f"INSERT OR IGNORE INTO combinations ({COLUMNS}) VALUES ({marks})", *values)
            equal = " AND ".join(f"{facet} = ?" for facet in Facet)
            ((found,),) = self.read(f"SELECT id FROM combinations WHERE {equal}", *values)
            self._combinations[values] = int(found)
        return self._combinations[values]

    def _token(self, facet: str, value: str) -> int:
        if (facet, value) not in self._tokens:
            self.write("INSERT OR IGNORE INTO tokens (facet, value) VALUES (?, ?)", facet, value)
            self._tokens[facet, value] = self.token(facet, value)
        return self._tokens[facet, value]
