"""The teacher cache: the replies of teachers by their calls, for every run of a user and machine.

One SQLite file in WAL mode, shared by all orchestrators at work. A reply is written
within WRITE_EVERY_S, many in one short transaction, and never changed. Without the cache,
or with a damaged one, a run does the same and pays for more.
"""

from __future__ import annotations

import asyncio
import math
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import MpaError, NotFound
from services.orchestrator.endpoints.call import Call, Reply, read_reply, write_reply
from services.rpc.client import AnnotationReply, AnswerReply, TeacherModel

WRITE_EVERY_S = 0.02
DAY_S = 86_400.0
FOREVER = float("inf")
SCHEMA = """
CREATE TABLE IF NOT EXISTS models (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, serving_sha256 TEXT NOT NULL,
    name TEXT NOT NULL, UNIQUE (fingerprint, serving_sha256));
-- asked: the task, or the question; reply: JSON; made, used: seconds since 1970, `used` to the day.
CREATE TABLE IF NOT EXISTS replies (
    key BLOB PRIMARY KEY, model INTEGER NOT NULL, kind TEXT NOT NULL,
    image_sha256 TEXT NOT NULL, asked TEXT NOT NULL, reply TEXT NOT NULL,
    cost_usd REAL NOT NULL, made REAL NOT NULL, used REAL NOT NULL);
-- Cost of the replies that each run, by its id, has put here.
CREATE TABLE IF NOT EXISTS payers (run TEXT PRIMARY KEY, cost_usd REAL NOT NULL) WITHOUT ROWID;
"""

REPLY, COST = 4, 5
"""Columns after the key."""
PAY = """
INSERT INTO payers VALUES (?, ?)
ON CONFLICT DO UPDATE SET cost_usd = cost_usd + excluded.cost_usd
"""
MODELS = """
SELECT fingerprint, serving_sha256, name, sum(kind = 'annotate'), sum(kind = 'answer'),
sum(cost_usd), min(made), max(used) AS last
FROM replies JOIN models ON models.id = replies.model GROUP BY models.id ORDER BY last DESC
"""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """Replies of one model, as it was served. `cost_usd`: their cost when they were made."""

    fingerprint: str
    serving_sha256: str
    name: str
    annotations: int
    answers: int
    cost_usd: float
    oldest: float
    used: float


def cache_file(variables: Mapping[str, str] = os.environ) -> Path:
    """The path in MPA_CACHE, else teacher.sqlite in the user's cache folder."""
    if named := variables.get("MPA_CACHE"):
        path = Path(named).expanduser()
        return path / "teacher.sqlite" if path.is_dir() else path
    return cache_folder(variables) / "teacher.sqlite"


def cache_folder(variables: Mapping[str, str] = os.environ) -> Path:
    """Folder of this program in the user's cache folder."""
    return Path(variables.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "mpa"


class Cache:
    """The open file. `run`: id of the run that pays for new replies, "" for none.

    Methods raise sqlite3.Error if the file can't be used, or a late write has failed;
    opening raises MpaError.
    """

    def __init__(self, path: Path, run: str = "") -> None:
        self.path = path
        self._run = run
        self._models: dict[TeacherModel, int] = {}
        self._unwritten: dict[bytes, tuple[str | int | float, ...]] = {}
        self._failure: sqlite3.Error | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
            # Before the first table, so that pruning shrinks the file.
            self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise _useless(path, error) from error

    def close(self) -> None:
        """Closes the file. Call `flush` first: unwritten replies are lost."""
        self._unwritten.clear()
        self._db.close()

    def flush(self) -> None:
        if not self._unwritten:
            return
        rows = [(key, *row) for key, row in self._unwritten.items()]
        cost_usd = sum(float(row[COST]) for row in self._unwritten.values())
        self._unwritten.clear()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
            )
            if self._run and cost_usd:
                self._db.execute(PAY, (self._run, cost_usd))
            self._db.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    def get(self, key: bytes, kind: type[Reply]) -> Reply | None:
        """The reply as it was given, marked as cached, unless this very run has paid for it.

        Then the run was interrupted before it recorded the reply.
        """
        if key in self._unwritten:
            return read_reply(str(self._unwritten[key][REPLY]), kind, self._run)
        row = self._db.execute("SELECT reply, used FROM replies WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if time.time() - row[1] > DAY_S:
            self._db.execute("UPDATE replies SET used = ? WHERE key = ?", (time.time(), key))
        return read_reply(row[0], kind, self._run)

    def put(
        self, key: bytes, call: Call, model: TeacherModel, reply: AnnotationReply | AnswerReply
    ) -> None:
        if self._failure is not None:
            raise self._failure
        now = time.time()
        cost_usd = reply.provenance.usage.cost_usd
        self._unwritten[key] = (
            self._id(model),
            call.kind,
            call.image_sha256,
            call.asked,
            write_reply(reply, self._run),
            cost_usd,
            now,
            now,
        )
        if len(self._unwritten) == 1:
            self._flush_soon()

    def _flush_soon(self) -> None:
        """Writes soon, or at once if no event loop runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            loop.call_later(WRITE_EVERY_S, self._flush_in_time)

    def _flush_in_time(self) -> None:
        try:
            self.flush()
        except sqlite3.Error as error:
            # The next `put` raises it.
            self._failure = error

    def _id(self, model: TeacherModel) -> int:
        if model not in self._models:
            ((row,),) = self._db.execute(
                "INSERT INTO models (fingerprint, serving_sha256, name) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET name = excluded.name RETURNING id",
                (model.fingerprint, model.serving_sha256, model.name),
            )
            self._models[model] = row
        return self._models[model]

    def paid_usd(self, run: str) -> float:
        """Dollars paid by that run for all replies that it ever put here."""
        rows = self._db.execute("SELECT cost_usd FROM payers WHERE run = ?", (run,))
        return next((float(usd) for (usd,) in rows), 0.0)

    def model(self, fingerprint: str) -> TeacherModel:
        """The model whose fingerprint begins so, as it was served last.

        Raises NotFound for none or several.
        """
        found = [row for row in self.models() if row.fingerprint.startswith(fingerprint)]
        if len({row.fingerprint for row in found}) != 1:
            count = f"{len(found)} models" if found else "no model"
            raise NotFound(
                f"the teacher cache {self.path} holds {count} "
                f"whose fingerprint begins with {fingerprint!r}: "
                "`mpa-orch cache show` lists them"
            )
        return TeacherModel(found[0].fingerprint, found[0].serving_sha256, found[0].name)

    def models(self) -> Iterator[ModelRow]:
        """All models, the last used one first."""
        return (ModelRow(*row) for row in self._db.execute(MODELS))

    @property
    def bytes(self) -> int:
        """Size of the replies. The file may be a little larger while others are at work."""
        pages, free, size = (
            self._db.execute(f"PRAGMA {what}").fetchone()[0]
            for what in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def prune(
        self,
        *,
        older_than_s: float | None = None,
        fingerprint: str = "",
        max_bytes: int | None = None,
    ) -> int:
        """Removes replies and returns their number.

        Removes those that were unused for `older_than_s`, of models whose fingerprint
        begins so, and the longest unused ones beyond `max_bytes`. Age and model narrow
        each other; the size holds for the rest.
        """
        gone = 0
        if older_than_s is not None or fingerprint:
            since = FOREVER if older_than_s is None else time.time() - older_than_s
            of_model = "model IN (SELECT id FROM models WHERE substr(fingerprint, 1, ?) = ?)"
            gone = self._delete(f"used <= ? AND {of_model}", since, len(fingerprint), fingerprint)
        while max_bytes is not None and self.bytes > max_bytes:
            count = next(self._db.execute("SELECT count(*) FROM replies"))[0]
            if not count:
                break
            excess = max(0.01, 1 - max_bytes / self.bytes)
            oldest = "SELECT key FROM replies ORDER BY used, made LIMIT ?"
            gone += self._delete(f"key IN ({oldest})", math.ceil(count * excess))
        # `execute` would free one page only.
        self._db.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def _delete(self, where: str, *values: float | int | str) -> int:
        return self._db.execute(f"DELETE FROM replies WHERE {where}", values).rowcount


@contextmanager
def looking_into(path: Path) -> Iterator[Cache]:
    """Opens the cache for a look. Raises MpaError if it can't be used, then or later."""
    cache = Cache(path)
    try:
        yield cache
    except sqlite3.Error as error:
        raise _useless(path, error) from error
    finally:
        cache.close()


def paid_usd(path: Path, run: str) -> float:
    """Dollars paid by that run; 0 if no cache can be used."""
    if not path.exists():
        return 0.0
    try:
        with looking_into(path) as cache:
            return cache.paid_usd(run)
    except MpaError:
        return 0.0


def _useless(path: Path, error: Exception) -> MpaError:
    return MpaError(
        f"the teacher cache {path} can't be used ({error}): "
        "make room, remove it, or name another in MPA_CACHE"
    )
