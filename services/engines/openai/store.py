"""Requests in batches and their replies, in a SQLite file: a killed service pays nothing twice."""

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
-- batch 0: in no batch yet. The body is needed until the batch is created. status 0: no response.
CREATE TABLE IF NOT EXISTS requests (
    key TEXT PRIMARY KEY, batch INTEGER NOT NULL DEFAULT 0, body TEXT NOT NULL,
    status INTEGER NOT NULL DEFAULT 0, response TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS requests_by_batch ON requests (batch);
-- state: 'new', 'under way', 'done', or 'failed' until a caller has got the failure, then 'told'.
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY, state TEXT NOT NULL DEFAULT 'new',
    file_id TEXT NOT NULL DEFAULT '', batch_id TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '');
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch; `file_id` and `batch_id` are the provider's names, "" until it has given them."""

    number: int
    state: str
    file_id: str
    batch_id: str
    detail: str
    """Progress, or the reason of a failure."""


@dataclass(frozen=True, slots=True)
class KnownRequest:
    """A request in the store. `status` 0: no response yet."""

    batch: int
    status: int
    response: str


class BatchStore:
    """A store of requests and batches, owned by one service at a time."""

    def __init__(self, path: Path) -> None:
        """Raises Conflict: another process owns the store; MpaError: it can't be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_SCHEMA)
        except BlockingIOError as error:
            raise Conflict(
                f"another teacher works with the batches in {path.parent}: "
                "stop it, or set another MPA_TEACHER_BATCH_FOLDER"
            ) from error
        except (OSError, sqlite3.Error) as error:
            raise MpaError(
                f"the batches can't be kept in {path} ({error}): "
                "set another MPA_TEACHER_BATCH_FOLDER"
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
        """Adds a request; False if it is known already. Raises WrongState: the disk is full."""
        insert = "INSERT OR IGNORE INTO requests (key, body) VALUES (?, ?)"
        try:
            return self._db.execute(insert, (key, body)).rowcount > 0
        except sqlite3.OperationalError as error:
            raise WrongState(
                f"requests can't be collected for a batch ({error}): make room, then repeat"
            ) from error

    def forget(self, key: str) -> None:
        """Removes a request, so that it can be asked again."""
        self._db.execute("DELETE FROM requests WHERE key = ?", (key,))

    def collected(self) -> tuple[int, int]:
        """Number of requests that are in no batch yet, and their size in bytes."""
        row = self._db.execute(
            "SELECT count(*), sum(length(body)) FROM requests WHERE batch = 0"
        ).fetchone()
        return int(row[0]), int(row[1] or 0)

    def close_pile(self) -> None:
        """Makes a new batch of the collected requests."""
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
        """Notes that the provider has the batch, and removes its bodies, which have images."""
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
        """Keeps `responses` (key, HTTP status, body); requests without one may be asked again."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "UPDATE requests SET status = ?, response = ? WHERE key = ? AND batch = ?",
            [(status, response, key, number) for key, status, response in responses],
        )
        self._db.execute("DELETE FROM requests WHERE batch = ? AND status = 0", (number,))
        self._db.execute("UPDATE batches SET state = 'done' WHERE number = ?", (number,))
        self._db.execute("COMMIT")

    def fail(self, number: int, detail: str) -> None:
        """Notes that the provider refused a whole batch; its requests may be asked again."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM requests WHERE batch = ?", (number,))
        self._db.execute(
            "UPDATE batches SET state = 'failed', detail = ? WHERE number = ?", (detail, number)
        )
        self._db.execute("COMMIT")

    def told(self, number: int) -> None:
        self._db.execute("UPDATE batches SET state = 'told' WHERE number = ?", (number,))
