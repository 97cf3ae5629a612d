"""What was asked in batches and what came back: one SQLite file, so that a service that was killed pays for nothing twice."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import Conflict, MpaError, WrongState

_SCHEMA = """
-- batch 0: collected, in no batch yet. The body is needed until the batch is created; status 0: no response yet.
CREATE TABLE IF NOT EXISTS requests (
    key TEXT PRIMARY KEY, batch INTEGER NOT NULL DEFAULT 0, body TEXT NOT NULL,
    status INTEGER NOT NULL DEFAULT 0, response TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS requests_by_batch ON requests (batch);
-- state: 'new', 'under way', 'done', or 'failed' until the failure has been told to somebody, then 'told'.
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY, state TEXT NOT NULL DEFAULT 'new', file_id TEXT NOT NULL DEFAULT '',
    batch_id TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '');
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """`file_id`, `batch_id`: the provider's names, "" until it has given them. `detail`: how far it is, or why it failed."""

    number: int
    state: str
    file_id: str
    batch_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class KnownRequest:
    """A request that is known. `status` 0: no response yet."""

    batch: int
    status: int
    response: str


class BatchStore:
    """One service at a time owns a store."""

    def __init__(self, path: Path) -> None:
        """Raises Conflict: another process has it; MpaError: it can't be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_SCHEMA)
        except BlockingIOError as error:
            raise Conflict(
                f"another teacher works with the batches in {path.parent}: stop it, or give another folder"
            ) from error
        except (OSError, sqlite3.Error) as error:
            raise MpaError(
                f"the batches can't be kept in {path} ({error}): set another MPA_TEACHER_BATCH_FOLDER"
            ) from error

    def close(self) -> None:
        self._db.close()
        with suppress(OSError):
            os.close(self._lock)

    def find(self, key: str) -> KnownRequest | None:
        rows = self._db.execute(
            "SELECT batch, status, response FROM requests WHERE key = ?", (key,)
        )
        return next((KnownRequest(*row) for row in rows), None)

    def collect(self, key: str, body: str) -> bool:
        """False where it is known already. Raises WrongState: the disk is full."""
        try:
            return (
                self._db.execute(
                    "INSERT OR IGNORE INTO requests (key, body) VALUES (?, ?)", (key, body)
                ).rowcount
                > 0
            )
        except sqlite3.OperationalError as error:
            raise WrongState(
                f"requests can't be collected for a batch ({error}): make room, then repeat"
            ) from error

    def forget(self, key: str) -> None:
        """So that it can be asked anew."""
        self._db.execute("DELETE FROM requests WHERE key = ?", (key,))

    def collected(self) -> tuple[int, int]:
        """Requests that are in no batch yet, and their size in bytes."""
        row = self._db.execute(
            "SELECT count(*), sum(length(body)) FROM requests WHERE batch = 0"
        ).fetchone()
        return int(row[0]), int(row[1] or 0)

    def close_pile(self) -> None:
        """What is collected becomes a batch, not handed in yet."""
        self._db.execute("BEGIN IMMEDIATE")
        number = self._db.execute("INSERT INTO batches DEFAULT VALUES").lastrowid
        self._db.execute("UPDATE requests SET batch = ? WHERE batch = 0", (number,))
        self._db.execute("COMMIT")

    def batches(self, state: str) -> list[Batch]:
        rows = self._db.execute(
            "SELECT number, state, file_id, batch_id, detail FROM batches WHERE state = ?", (state,)
        )
        return [Batch(*row) for row in rows]

    def batch(self, number: int) -> Batch:
        rows = self._db.execute(
            "SELECT number, state, file_id, batch_id, detail FROM batches WHERE number = ?",
            (number,),
        )
        return Batch(*next(rows))

    def bodies(self, number: int) -> list[tuple[str, str]]:
        """Key and body of each request of a batch."""
        return list(
            self._db.execute(
                "SELECT key, body FROM requests WHERE batch = ? ORDER BY key", (number,)
            )
        )

    def uploaded(self, number: int, file_id: str) -> None:
        self._db.execute("UPDATE batches SET file_id = ? WHERE number = ?", (file_id, number))

    def created(self, number: int, batch_id: str) -> None:
        """The provider has everything: the bodies, images in them, are let go."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            "UPDATE batches SET state = 'under way', batch_id = ? WHERE number = ?",
            (batch_id, number),
        )
        self._db.execute("UPDATE requests SET body = '' WHERE batch = ?", (number,))
        self._db.execute("COMMIT")

    def progress(self, number: int, detail: str) -> None:
        self._db.execute("UPDATE batches SET detail = ? WHERE number = ?", (detail, number))

    def finish(self, number: int, responses: Iterable[tuple[str, int, str]]) -> None:
        """`responses`: key, HTTP status and body. A request that got none is forgotten: it may be asked anew."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "UPDATE requests SET status = ?, response = ? WHERE key = ? AND batch = ?",
            [(status, response, key, number) for key, status, response in responses],
        )
        self._db.execute("DELETE FROM requests WHERE batch = ? AND status = 0", (number,))
        self._db.execute("UPDATE batches SET state = 'done' WHERE number = ?", (number,))
        self._db.execute("COMMIT")

    def fail(self, number: int, detail: str) -> None:
        """The provider refused the batch as a whole: nothing was computed, everything may be asked anew."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM requests WHERE batch = ?", (number,))
        self._db.execute(
            "UPDATE batches SET state = 'failed', detail = ? WHERE number = ?", (detail, number)
        )
        self._db.execute("COMMIT")

    def told(self, number: int) -> None:
        self._db.execute("UPDATE batches SET state = 'told' WHERE number = ?", (number,))
