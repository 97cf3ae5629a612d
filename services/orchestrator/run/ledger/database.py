"""The SQLite file of a ledger, with one writer, batches and errors that name the next step.

Commits keep the order of the writes. So a kill leaves a prefix of them: no row without
the rows that it depends on.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from services.core.errors import MpaError

COMMIT_EVERY_S = 0.01
CACHE_KIB = 4 * 1024
"""Cache of pages and sorted rows. It is small, so that memory stays flat."""
CHECKPOINT_PAGES = 4000
DAMAGED = "FILE_DAMAGED"
"""Reason of an error about a file that will never be read, whoever tries."""
_NULL = re.compile(r"NULL value in (?P<table>\w+)\.(?P<column>\w+)")
"""A finding that SQLite 3.40 has on intact tables WITHOUT ROWID, too, for each row."""
MOST_FINDINGS = 2**31 - 1


class Database:
    """The file. Methods raise MpaError if it can't be used."""

    noun = "ledger"
    if_full, if_damaged = "free space or give another --run, then repeat", "start a new run"
    """Advice of the errors."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path
        self._explained = _Explained(f"the {self.noun} {path}", self.if_full, self.if_damaged)
        where = f"{path.absolute().as_uri()}?mode=ro{_unlocked(path)}" if read_only else str(path)
        with self._explained:
            self._db = sqlite3.connect(where, isolation_level=None, uri=read_only, timeout=30)
            if not read_only:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
                self._db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
                self._db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        self._is_batching = False
        self._failure: MpaError | None = None

    def close(self) -> None:
        self._db.close()

    def require_intact(self) -> None:
        """Reads the whole file.

        Raises MpaError if it is damaged, which a query doesn't always notice.
        """
        suspects: dict[str, set[str]] = defaultdict(set)
        for (finding,) in self.read(f"PRAGMA integrity_check({MOST_FINDINGS})"):
            if suspect := _NULL.fullmatch(finding):
                suspects[suspect["table"]].add(suspect["column"])
            elif finding != "ok":
                raise self._explained.damaged(finding)
        for table, columns in suspects.items():
            self._require_no_null(table, columns)

    def _require_no_null(self, table: str, columns: Iterable[str]) -> None:
        """Reads the columns themselves: `IS NULL` is never tried in one that is NOT NULL."""
        for column in sorted(columns):
            statement = f"SELECT 1 FROM {table} NOT INDEXED WHERE typeof({column}) = 'null' LIMIT 1"
            if any(self.read(statement)):
                raise self._explained.damaged(f"NULL value in {table}.{column}")

    def run_script(self, statements: str) -> None:
        with self._explained:
            self._db.executescript(statements)

    def write(self, statement: str, *values: str | int | float | bytes | None) -> None:
        """Raises MpaError if the disk is full.

        Within a batch every later write does so, too, so that the written rows stay a
        prefix.
        """
        if self._failure is not None:
            raise self._failure
        try:
            with self._explained:
                if self._is_batching and not self._db.in_transaction:
                    self._db.execute("BEGIN")
                    asyncio.get_running_loop().call_later(COMMIT_EVERY_S, self._commit_in_time)
                self._db.execute(statement, values)
        except MpaError as error:
            self._failure = error if self._is_batching else None
            raise

    def insert(
        self,
        table: str,
        columns: Mapping[str, str | int | float | bytes | None],
        *,
        replaces: bool = True,
    ) -> None:
        """Adds a row. One with the same key is replaced, or stays."""
        verb = "INSERT OR REPLACE" if replaces else "INSERT OR IGNORE"
        names = ", ".join(columns)
        marks = ", ".join("?" * len(columns))
        self.write(f"{verb} INTO {table} ({names}) VALUES ({marks})", *columns.values())

    @contextmanager
    def in_batches(self) -> Iterator[None]:
        """Commits writes every COMMIT_EVERY_S, on an event loop, and all of them at the end."""
        self._is_batching = True
        try:
            yield
        finally:
            self._is_batching = False
            self._commit()

    def _commit(self) -> None:
        if self._failure is None and self._db.in_transaction:
            with self._explained:
                self._db.execute("COMMIT")

    def _commit_in_time(self) -> None:
        try:
            if self._is_batching:
                self._commit()
        except MpaError as error:
            self._failure = error

    def read(self, statement: str, *values: str | int | float) -> Iterator[tuple[Any, ...]]:
        """Rows of `statement`. The caller knows the types of the columns."""
        with self._explained:
            return _Rows(self._db.execute(statement, values), self._explained)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """One transaction for many small writes, all or none."""
        self._commit()
        self.write("BEGIN")
        try:
            yield
            self.write("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk may have ended it
                self._db.execute("ROLLBACK")
            raise


def _unlocked(path: Path) -> str:
    """Option for a folder that can't be written, such as an archive: SQLite can't lock there.

    Raises MpaError if the last writes are still in SQLite's log: only a writer can bring
    them into the file.
    """
    if os.access(path.parent, os.W_OK):
        return ""
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise MpaError(
            f"{path} was left in the middle of work, and its folder can't be written: "
            "copy the run to one that can"
        )
    return "&immutable=1"


class _Rows(Iterator[tuple[Any, ...]]):
    """Rows of a cursor.

    Not a generator: one that is abandoned runs code when it is collected, and an interrupt
    that comes at that moment is lost.
    """

    __slots__ = ("_cursor", "_explained")

    def __init__(self, cursor: sqlite3.Cursor, explained: _Explained) -> None:
        self._cursor = cursor
        self._explained = explained

    def __next__(self) -> tuple[Any, ...]:
        with self._explained:
            return next(self._cursor)


class _Explained:
    """Turns SQLite's errors into MpaErrors.

    A class is faster than a generator, and every statement of a run enters it.
    """

    def __init__(self, file: str, if_full: str, if_damaged: str) -> None:
        self._file = file
        self._if_full = if_full
        self._if_damaged = if_damaged

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, sqlite3.OperationalError):
            raise MpaError(f"{self._file} can't be used ({error}): {self._if_full}") from error
        # SQLite quotes damaged names in its messages.
        if type(error) is sqlite3.DatabaseError or isinstance(error, UnicodeDecodeError):
            raise self.damaged(error) from error

    def damaged(self, why: object) -> MpaError:
        message = f"{self._file} is damaged ({why}): {self._if_damaged}"
        return MpaError(message, reason=DAMAGED)
