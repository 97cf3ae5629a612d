"""The ledger of a run: every image, annotation, answer and decision with its reason, in one SQLite file.

Writing is idempotent by key, and a finished model call is committed as it arrives or, within `in_batches`, COMMIT_EVERY_S later
with its neighbours. Commits keep the order of the writes, so what a kill leaves is a prefix of them: no row without those it
rests on. A run that is killed at any instant repeats at most the calls that were in flight, and ends with the same records.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.core.annotation import Rejection
from services.core.errors import MpaError, WrongState
from services.core.parity import Cell
from services.core.usage import Usage
from services.engines.model import FinishReason
from services.rpc.client import NOTHING_KNOWN, Provenance

SCHEMA_VERSION = 3
COMMIT_EVERY_S = 0.01
CACHE_KIB = 16 * 1024
CHECKPOINT_PAGES = 4000
PROVENANCE = (
    "finish_reason TEXT NOT NULL DEFAULT ''",
    "system_fingerprint TEXT NOT NULL DEFAULT ''",
    "prompt_tokens INTEGER NOT NULL DEFAULT 0",
    "completion_tokens INTEGER NOT NULL DEFAULT 0",
    "cached_prompt_tokens INTEGER NOT NULL DEFAULT 0",
    "cost_usd REAL NOT NULL DEFAULT 0",
)
"""How each call came about: the columns that schema 2 added to annotations and answers."""
CACHED = "cached INTEGER NOT NULL DEFAULT 0"
"""Schema 3: 1 where the reply came from the teacher cache, so that this run's bill leaves it out."""
LIKENESS = "likeness BLOB NOT NULL DEFAULT x''"
"""Schema 3: what the image looks like (images/likeness.py); empty in what older programs wrote."""
POOL, PRODUCTION = "pool", "production"
ORIGIN = f"origin TEXT NOT NULL DEFAULT '{POOL}'"
"""Schema 3: whether the teacher thought of the question, or a user did."""
RECORDS = """
CREATE TABLE IF NOT EXISTS records (
    image_sha256 TEXT NOT NULL, number INTEGER NOT NULL, cell TEXT NOT NULL, matcher TEXT NOT NULL,
    round INTEGER NOT NULL DEFAULT 1,
    student_matcher TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (image_sha256, number, round)) WITHOUT ROWID;
"""
"""`student_matcher` "" is the same as `matcher`, which decided on the teacher's answer."""
INDICES = (
    "CREATE INDEX IF NOT EXISTS records_by_cell ON records (round, cell)",
    "CREATE INDEX IF NOT EXISTS rejected_annotations ON annotations (rejection) WHERE rejection != ''",
    "CREATE INDEX IF NOT EXISTS rejected_images ON images (rejection) WHERE rejection != ''",
    "CREATE INDEX IF NOT EXISTS questions ON annotations (image_sha256, number, attempt, question)",
)
"""What `mpa-orch runs show` filters by: the first page of a million records comes at once. `questions` holds a third of the
table's bytes in the table's order, so that a search for a rare word reads those alone."""
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- step: 0 seen, 1 annotated, 2 identified, and on from there in later rounds.
-- A duplicate has the sha256 of the image it repeats, and the rejection 'duplicate'; `detail` says which image that is.
CREATE TABLE IF NOT EXISTS images (
    path TEXT PRIMARY KEY, sha256 TEXT NOT NULL, rejection TEXT NOT NULL, detail TEXT NOT NULL,
    held_out INTEGER NOT NULL, step INTEGER NOT NULL,
    {LIKENESS}) WITHOUT ROWID;
-- Of the sets that the run is measured on.
CREATE TABLE IF NOT EXISTS evaluation_images (
    image_set TEXT NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL, likeness BLOB NOT NULL,
    PRIMARY KEY (image_set, path)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS accepted_images ON images (sha256) WHERE rejection = '';
CREATE TABLE IF NOT EXISTS annotations (
    image_sha256 TEXT NOT NULL, number INTEGER NOT NULL, attempt INTEGER NOT NULL, text TEXT NOT NULL, question TEXT NOT NULL,
    answer TEXT NOT NULL, rejection TEXT NOT NULL, seed INTEGER NOT NULL, model_fingerprint TEXT NOT NULL,
    detail TEXT NOT NULL,
    {", ".join(PROVENANCE)}, {CACHED}, {ORIGIN},
    PRIMARY KEY (image_sha256, number, attempt)) WITHOUT ROWID;
-- version: the student's version, or the teacher's model fingerprint, of a sample with its number: FINGERPRINT#0.
-- conditions: hash of template and decoding.
CREATE TABLE IF NOT EXISTS answers (
    image_sha256 TEXT NOT NULL, question TEXT NOT NULL, role TEXT NOT NULL, version TEXT NOT NULL, answer TEXT NOT NULL,
    conditions TEXT NOT NULL, step TEXT NOT NULL,
    {", ".join(PROVENANCE)}, {CACHED},
    PRIMARY KEY (image_sha256, question, role, version)) WITHOUT ROWID;
{RECORDS}
CREATE TABLE IF NOT EXISTS scores (
    question_set TEXT NOT NULL, image_sha256 TEXT NOT NULL, question TEXT NOT NULL, role TEXT NOT NULL, version TEXT NOT NULL,
    kind TEXT NOT NULL, score REAL NOT NULL,
    PRIMARY KEY (question_set, image_sha256, question, role, version)) WITHOUT ROWID;
-- kind: vote or sample; seat: which teacher, from 0; agreed of asked opinions match the annotation's answer.
CREATE TABLE IF NOT EXISTS opinions (
    image_sha256 TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL, seat INTEGER NOT NULL, kind TEXT NOT NULL,
    agreed INTEGER NOT NULL, asked INTEGER NOT NULL,
    PRIMARY KEY (image_sha256, question, answer, seat, kind)) WITHOUT ROWID;
"""

OF_A_ROUND = ("done.", "version.", "training", "parity_set", "evaluation", "swap.", "outcome", "reason")
"""What the meta keys begin with that each round has for itself: "outcome" is round 1's, "round.2.outcome" the second's."""
STEPS_OF_A_ROUND = 2

FAILED = (Rejection.TEACHER_ERROR, Rejection.STUDENT_ERROR, Rejection.PENDING)
"""A call that failed or is still pending, and so isn't finished: it is made again when the run is repeated."""


@dataclass(frozen=True, slots=True)
class ImageRow:
    path: str
    sha256: str
    rejection: str = ""
    detail: str = ""
    held_out: bool = False  # SQLite keeps it as 0 or 1
    step: int = 0
    likeness: bytes = b""


@dataclass(frozen=True, slots=True)
class AnnotationRow:
    """`number`: which of the image's questions; `attempt`: 1 where the first reply could not be parsed, N where round N asked.

    `detail`: what a call that failed said.
    """

    image_sha256: str
    number: int
    attempt: int
    text: str
    question: str
    answer: str
    rejection: str
    seed: int
    model_fingerprint: str
    detail: str = ""
    provenance: Provenance = NOTHING_KNOWN
    origin: str = POOL


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """`role`: teacher or student; `version`, `conditions`: see the schema."""

    image_sha256: str
    question: str
    role: str
    version: str
    answer: str
    conditions: str
    step: str
    provenance: Provenance = NOTHING_KNOWN


@dataclass(frozen=True, slots=True)
class Record:
    """An annotation that was identified."""

    path: str
    image_sha256: str
    question: str
    answer: str
    cell: Cell
    held_out: bool
    origin: str = POOL


class Ledger:
    """One writer at a time (the run's lock sees to it); readers, such as `mpa-orch status`, at any time.

    `round`: the one that is at work, or was last. Records, steps and the keys OF_A_ROUND are always that round's.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        where = f"{path.absolute().as_uri()}?mode=ro{_unlocked(path)}" if read_only else str(path)
        with _explained(path):
            self._db = sqlite3.connect(where, isolation_level=None, uri=read_only, timeout=30)
            if not read_only:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
                self._db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
                self._db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
                self._db.executescript(SCHEMA)
        self._path = path
        self._is_batching = False
        self._failure: MpaError | None = None
        self._known_meta: dict[str, str] = {}
        if read_only:
            self._read_as_up_to_date()
        else:
            self._bring_up_to_date()
        self.round = int(self._meta("round") or 1)

    def _bring_up_to_date(self) -> None:
        """Raises WrongState: the ledger of a later program."""
        schema = self._require_known_schema()
        with self.at_once():
            for table in ("annotations", "answers") if schema < 2 else ():
                for column in PROVENANCE:
                    self.write(f"ALTER TABLE {table} ADD COLUMN {column}")
            for table in ("annotations", "answers") if schema < 3 else ():
                self.write(f"ALTER TABLE {table} ADD COLUMN {CACHED}")
            if schema < 3:
                self.write(f"ALTER TABLE images ADD COLUMN {LIKENESS}")
                self.write(f"ALTER TABLE annotations ADD COLUMN {ORIGIN}")
                self.write("ALTER TABLE records RENAME TO records_2")
                self.write(RECORDS)
                known = "image_sha256, number, cell, matcher"
                self.write(f"INSERT INTO records ({known}) SELECT {known} FROM records_2")
                self.write("DROP TABLE records_2")
            for index in INDICES:
                self.write(index)
            self.write("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", str(SCHEMA_VERSION))

    def _require_known_schema(self) -> int:
        schema = int(self._meta("schema") or SCHEMA_VERSION)
        if schema > SCHEMA_VERSION:
            raise WrongState(
                f"{self._path} is of schema {schema}, this program's is {SCHEMA_VERSION}: "
                "update the program, or start a new run"
            )
        return schema

    def _read_as_up_to_date(self) -> None:
        """What later schemas added, put before the reader of an older ledger, which stays as it is."""
        self._require_known_schema()
        if 0 < int(self._meta("schema") or 0) < SCHEMA_VERSION:
            for view in _views_of_missing_columns(self._db):
                self.write(view)

    def begin_round(self, number: int) -> None:
        """From here on the ledger is that round's. Call it within `at_once` together with what the round begins with."""
        self.write("INSERT OR REPLACE INTO meta VALUES ('round', ?)", str(number))
        self.round = number

    def close(self) -> None:
        self._db.close()

    def write(self, statement: str, *values: str | int | float | bytes) -> None:
        """Raises MpaError where the disk is full; within a batch every later write does, too: a prefix stays a prefix."""
        if self._failure is not None:
            raise self._failure
        try:
            with _explained(self._path):
                if self._is_batching and not self._db.in_transaction:
                    self._db.execute("BEGIN")
                    asyncio.get_running_loop().call_later(COMMIT_EVERY_S, self._commit_in_time)
                self._db.execute(statement, values)
        except MpaError as error:
            self._failure = error if self._is_batching else None
            raise

    @contextmanager
    def in_batches(self) -> Iterator[None]:
        """Within, on an event loop, writes are committed every COMMIT_EVERY_S; at its end, however it ends, all of them are."""
        self._is_batching = True
        try:
            yield
        finally:
            self._is_batching = False
            self._known_meta.clear()
            self._commit()

    def _commit(self) -> None:
        if self._failure is None and self._db.in_transaction:
            with _explained(self._path):
                self._db.execute("COMMIT")

    def _commit_in_time(self) -> None:
        try:
            if self._is_batching:
                self._commit()
        except MpaError as error:
            self._failure = error

    def read(self, statement: str, *values: str | int | float) -> Iterator[tuple[Any, ...]]:
        """Rows of `statement`; the caller knows their columns' types."""
        with _explained(self._path):
            yield from self._db.execute(statement, values)

    def meta(self, key: str, *, of_round: int = 0) -> str:
        """ "" where it was never set. `of_round` 0 is the present round."""
        name = _of_round(key, of_round or self.round)
        if not self._is_batching:
            return self._meta(name)
        if name not in self._known_meta:
            self._known_meta[name] = self._meta(name)
        return self._known_meta[name]

    def _meta(self, key: str) -> str:
        return next((value for (value,) in self.read("SELECT value FROM meta WHERE key = ?", key)), "")

    def set_meta(self, key: str, value: str) -> None:
        name = _of_round(key, self.round)
        self.write("INSERT OR REPLACE INTO meta VALUES (?, ?)", name, value)
        self._known_meta.pop(name, None)

    def add_seconds(self, stage: str, seconds: float) -> None:
        """Time adds up over interruptions."""
        self.set_meta(f"seconds.{stage}", f"{float(self.meta(f'seconds.{stage}') or 0) + seconds:.3f}")

    def image(self, path: str) -> ImageRow | None:
        before = STEPS_OF_A_ROUND * (self.round - 1)
        columns = "path, sha256, rejection, detail, held_out, max(0, step - ?)"
        rows = self.read(f"SELECT {columns} FROM images WHERE path = ?", before, path)
        return next((ImageRow(*row) for row in rows), None)

    def is_finished(self, path: str, step: int) -> bool:
        """Has the image come as far as `step` in this round, or been rejected?"""
        statement = "SELECT 1 FROM images WHERE path = ? AND (rejection != '' OR step >= ?)"
        return any(self.read(statement, path, step + STEPS_OF_A_ROUND * (self.round - 1)))

    def path_of(self, image_sha256: str) -> str:
        """The image of this content that is in use, "" where there is none."""
        rows = self.read("SELECT path FROM images WHERE sha256 = ? AND rejection = ''", image_sha256)
        return next((path for (path,) in rows), "")

    def add_image(self, row: ImageRow) -> None:
        self.write(
            f"INSERT OR REPLACE INTO images (path, sha256, rejection, detail, held_out, step, likeness) VALUES ({_marks(7)})",
            *(row.path, row.sha256, row.rejection, row.detail, row.held_out, row.step, row.likeness),
        )

    def reject_image(self, path: str, rejection: str, detail: str) -> None:
        self.write("UPDATE images SET rejection = ?, detail = ? WHERE path = ?", rejection, detail, path)

    def likenesses(self) -> Iterator[tuple[str, str, bytes]]:
        """Path, sha256 and likeness of every image in use."""
        yield from self.read("SELECT path, sha256, likeness FROM images WHERE rejection = ''")

    def evaluation_images(self) -> Iterator[tuple[str, str, str, bytes]]:
        """Set, path, sha256 and likeness."""
        yield from self.read("SELECT image_set, path, sha256, likeness FROM evaluation_images ORDER BY 1, 2")

    def set_evaluation_images(self, image_set: str, rows: Iterable[tuple[str, str, bytes]]) -> None:
        """Path, sha256 and likeness of all in the set, in place of what was known of it."""
        self.write("DELETE FROM evaluation_images WHERE image_set = ?", image_set)
        for row in rows:
            self.write("INSERT OR REPLACE INTO evaluation_images VALUES (?, ?, ?, ?)", image_set, *row)

    def set_step(self, image_sha256: str, step: int) -> None:
        """Unless a call about the image failed: then the image is gone through again when the run is repeated."""
        self.write(
            "UPDATE images SET step = max(step, ?) WHERE sha256 = ? AND rejection = '' AND NOT EXISTS "
            f"(SELECT 1 FROM annotations a WHERE a.image_sha256 = images.sha256 AND a.rejection IN ({_marks(len(FAILED))}))",
            *(step + STEPS_OF_A_ROUND * (self.round - 1), image_sha256, *FAILED),
        )

    def failures(self) -> tuple[int, int, str]:
        """Annotations with a failed call, all annotations, and what one of the failures said."""
        errors = (Rejection.TEACHER_ERROR, Rejection.STUDENT_ERROR)
        rows = self.read(
            "SELECT sum(rejection IN (?, ?)), count(*), max(CASE WHEN rejection IN (?, ?) THEN detail END) FROM annotations",
            *(*errors, *errors),
        )
        failed, total, detail = next(rows)
        return int(failed or 0), int(total), str(detail or "")

    def pending(self) -> tuple[int, str]:
        """Annotations that wait for a provider's batch, and what was said of one of them."""
        rows = self.read("SELECT count(*), max(detail) FROM annotations WHERE rejection = ?", Rejection.PENDING)
        count, detail = next(rows)
        return int(count), str(detail or "")

    def annotations(self, image_sha256: str) -> list[AnnotationRow]:
        """All attempts, by number and attempt."""
        rows = self.read(
            "SELECT image_sha256, number, attempt, text, question, answer, rejection, seed, model_fingerprint, detail, "
            f"{_PROVENANCE}, origin FROM annotations WHERE image_sha256 = ? ORDER BY number, attempt",
            image_sha256,
        )
        return [AnnotationRow(*[*row[:10], _provenance(row[10:-1]), row[-1]]) for row in rows]

    def add_annotation(self, row: AnnotationRow) -> None:
        self.write(
            "INSERT OR REPLACE INTO annotations (image_sha256, number, attempt, text, question, answer, rejection, seed, "
            f"model_fingerprint, detail, {_PROVENANCE}, origin) VALUES ({_marks(18)})",
            *(row.image_sha256, row.number, row.attempt, row.text, row.question, row.answer),
            *(row.rejection, row.seed, row.model_fingerprint, row.detail, *_values(row.provenance), row.origin),
        )

    def reject(self, row: AnnotationRow, reason: Rejection, detail: str = "") -> None:
        self.write(
            "UPDATE annotations SET rejection = ?, detail = ? WHERE image_sha256 = ? AND number = ? AND attempt = ?",
            *(str(reason), detail, row.image_sha256, row.number, row.attempt),
        )

    def answer(self, image_sha256: str, question: str, role: str, version: str) -> AnswerRow | None:
        rows = self.read(
            f"SELECT image_sha256, question, role, version, answer, conditions, step, {_PROVENANCE} FROM answers "
            "WHERE image_sha256 = ? AND question = ? AND role = ? AND version = ?",
            *(image_sha256, question, role, version),
        )
        return next((AnswerRow(*[*row[:7], _provenance(row[7:])]) for row in rows), None)

    def add_answer(self, row: AnswerRow) -> None:
        """An answer once given is never replaced."""
        self.write(
            "INSERT OR IGNORE INTO answers (image_sha256, question, role, version, answer, conditions, step, "
            f"{_PROVENANCE}) VALUES ({_marks(14)})",
            *(row.image_sha256, row.question, row.role, row.version, row.answer, row.conditions, row.step),
            *_values(row.provenance),
        )

    def usage(self) -> dict[str, Usage]:
        """Tokens and dollars of every call made, by role, and of none that was saved; nothing in a ledger older than that."""
        if int(self.meta("schema") or 0) < 2:
            return {}
        sums = ", ".join(f"sum({column} * (1 - cached))" for column in _PROVENANCE.split(", ")[2:6])
        rows = [
            *self.read(f"SELECT 'teacher', {sums} FROM annotations HAVING count(*)"),
            *self.read(f"SELECT role, {sums} FROM answers GROUP BY role"),
        ]
        found: dict[str, Usage] = {}
        for role, *counts in rows:
            found[role] = found.get(role, Usage()) + Usage(*counts)
        return found

    def cell(self, image_sha256: str, number: int) -> str:
        """ "" where it isn't identified yet."""
        statement = "SELECT cell FROM records WHERE image_sha256 = ? AND number = ? AND round = ?"
        rows = self.read(statement, image_sha256, number, self.round)
        return next((cell for (cell,) in rows), "")

    def add_record(self, image_sha256: str, number: int, cell: Cell, matcher: str, student_matcher: str = "") -> None:
        columns = "image_sha256, number, cell, matcher, round, student_matcher"
        statement = f"INSERT OR REPLACE INTO records ({columns}) VALUES ({_marks(6)})"
        self.write(statement, image_sha256, number, str(cell), matcher, self.round, student_matcher)

    def records(self) -> Iterator[Record]:
        """Every annotation that was identified in this round, by image and number."""
        rows = self.read(
            "SELECT path, r.image_sha256, question, answer, cell, held_out, origin FROM records r "
            "JOIN images i ON i.sha256 = r.image_sha256 AND i.rejection = '' "
            "JOIN annotations a ON a.image_sha256 = r.image_sha256 AND a.number = r.number AND a.rejection = '' "
            "WHERE round = ? ORDER BY r.image_sha256, r.number",
            self.round,
        )
        for path, image_sha256, question, answer, cell, held_out, origin in rows:
            yield Record(path, image_sha256, question, answer, Cell(cell), bool(held_out), origin)

    def cell_counts(self) -> dict[Cell, int]:
        """How many records of this round each cell has, without a look at what became of their annotations."""
        rows = self.read("SELECT cell, count(*) FROM records WHERE round = ? GROUP BY cell", self.round)
        return {Cell(cell): int(count) for cell, count in rows}

    def add_score(
        self, question_set: str, image_sha256: str, question: str, role: str, version: str, kind: str, score: float
    ) -> None:
        self.write(
            "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(question_set, image_sha256, question, role, version, kind, score),
        )

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """One transaction for many small writes, all or none."""
        self._commit()
        self.write("BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            self._known_meta.clear()
            raise
        self.write("COMMIT")


_PROVENANCE = ", ".join(column.split()[0] for column in (*PROVENANCE, CACHED))


def _provenance(row: tuple[Any, ...]) -> Provenance:
    finish_reason, system_fingerprint, *usage, is_cached = row
    return Provenance(FinishReason(finish_reason or FinishReason.STOP), Usage(*usage), system_fingerprint, bool(is_cached))


def _values(provenance: Provenance) -> tuple[str | int | float, ...]:
    usage = provenance.usage
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens, usage.cost_usd)
    return (str(provenance.finish_reason), provenance.system_fingerprint, *counts, int(provenance.is_cached))


def _of_round(key: str, number: int) -> str:
    return f"round.{number}.{key}" if number > 1 and key.startswith(OF_A_ROUND) else key


def _views_of_missing_columns(old: sqlite3.Connection) -> Iterator[str]:
    """For each table of an older ledger a view of the same name that has the columns it lacks, with their defaults; an empty
    table for one that it doesn't have.
    """
    with closing(sqlite3.connect(":memory:")) as present:
        present.executescript(SCHEMA)
        for table, statement in present.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = {column[1]: column[4] for column in present.execute(f"PRAGMA table_info({table})")}
            there = {column[1] for column in old.execute(f"PRAGMA table_info({table})")}
            missing = [f"{default or 'NULL'} AS {name}" for name, default in columns.items() if name not in there]
            if not there:
                yield statement.replace("CREATE TABLE", "CREATE TEMP TABLE", 1)
            elif missing:
                yield f"CREATE TEMP VIEW {table} AS SELECT *, {', '.join(missing)} FROM main.{table}"


def _unlocked(path: Path) -> str:
    """In a folder that can't be written (an archive, say) SQLite has no room for its lock, nor does anybody write.

    Raises MpaError where the last writes are still in SQLite's log: only a writer can bring them into the file.
    """
    if os.access(path.parent, os.W_OK):
        return ""
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise MpaError(f"{path} was left in the middle of work, and its folder can't be written: copy the run to one that can")
    return "&immutable=1"


def _marks(count: int) -> str:
    return ", ".join("?" * count)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise MpaError(f"the ledger {path} can't be used ({error}): free space or give another --run, then repeat") from error
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:
            raise
        raise MpaError(f"the ledger {path} is damaged ({error}): start a new run") from error
