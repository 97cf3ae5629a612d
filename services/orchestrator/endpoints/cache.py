"""The teacher cache: what the teacher said, by the content of the question, for every run of this user and machine.

One SQLite file in WAL mode, shared by all orchestrators at work: a reply is written within WRITE_EVERY_S, many in one short
transaction, and never changed. It is a cache: without it, or with one that is damaged, a run does the same and pays for more.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from services.core.decoding import Decoding
from services.core.errors import MpaError, NotFound
from services.core.provenance import FinishReason, Provenance
from services.core.usage import Usage
from services.rpc.client import AnnotationReply, AnswerReply, TeacherModel

VERSION = 2
"""Of keys and replies. What another version wrote is not found, and goes when it is pruned."""
WRITE_EVERY_S = 0.02
DAY_S = 86_400.0
FOREVER = float("inf")
SCHEMA = """
CREATE TABLE IF NOT EXISTS models (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, serving_sha256 TEXT NOT NULL, name TEXT NOT NULL,
    UNIQUE (fingerprint, serving_sha256));
-- asked: the task, or the question; reply: JSON; made, used: seconds since 1970, `used` to the day.
CREATE TABLE IF NOT EXISTS replies (
    key BLOB PRIMARY KEY, model INTEGER NOT NULL, kind TEXT NOT NULL, image_sha256 TEXT NOT NULL, asked TEXT NOT NULL,
    reply TEXT NOT NULL, cost_usd REAL NOT NULL, made REAL NOT NULL, used REAL NOT NULL);
-- Of each run by its id: what the replies that it put here did cost.
CREATE TABLE IF NOT EXISTS payers (run TEXT PRIMARY KEY, cost_usd REAL NOT NULL) WITHOUT ROWID;
"""

REPLY, COST = 4, 5
"""Of the columns after the key."""
OF_IMAGE = 8
"""Bytes that all keys of an image begin with: they are neighbours, so the calls about it read and write a page or two."""
PAY = "INSERT INTO payers VALUES (?, ?) ON CONFLICT DO UPDATE SET cost_usd = cost_usd + excluded.cost_usd"

Reply = TypeVar("Reply", AnnotationReply, AnswerReply)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the teacher by its content. `asked`: the task, or the question; `text` is the prompt as the model gets it."""

    kind: str
    image_sha256: str
    asked: str
    text: str
    decoding: Decoding
    guided: bool = False

    def key(self, model: TeacherModel) -> bytes:
        """Everything that decides the reply, hashed."""
        task = (
            self.asked if self.kind == "annotate" else ""
        )  # a question is in the text; a task names the limits on a reply
        decoding = self.decoding
        content = [
            *(
                VERSION,
                model.fingerprint,
                model.serving_sha256,
                self.kind,
                self.image_sha256,
                task,
                self.text,
                self.guided,
            ),
            *(decoding.temperature, decoding.top_p, decoding.max_new_tokens, decoding.seed),
        ]
        image = hashlib.sha256(self.image_sha256.encode()).digest()
        return image[:OF_IMAGE] + hashlib.sha256(json.dumps(content).encode()).digest()


@dataclass(frozen=True, slots=True)
class ModelRow:
    """What the cache holds of one model as it was served. `cost_usd`: what its replies cost when they were made."""

    fingerprint: str
    serving_sha256: str
    name: str
    annotations: int
    answers: int
    cost_usd: float
    oldest: float
    used: float


def cache_file(variables: Mapping[str, str] = os.environ) -> Path:
    """MPA_CACHE, else teacher.sqlite in the user's cache folder."""
    if named := variables.get("MPA_CACHE"):
        path = Path(named).expanduser()
        return path / "teacher.sqlite" if path.is_dir() else path
    folder = variables.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(folder) / "mpa" / "teacher.sqlite"


class Cache:
    """Methods raise sqlite3.Error where the file can't be used, or couldn't lately; opening raises MpaError.

    `run`: the id of the one that pays for what is put here, "" for none.
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
            self._db.execute(
                "PRAGMA auto_vacuum=INCREMENTAL"
            )  # before the first table, so that pruning shrinks the file
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise _useless(path, error) from error

    def close(self) -> None:
        """To be called after `flush`: what could not be written is lost."""
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
        """As it was given, marked as cached, unless this very run has paid for it: then it was ended before it recorded it."""
        if key in self._unwritten:
            return self._read(str(self._unwritten[key][REPLY]), kind)
        row = self._db.execute("SELECT reply, used FROM replies WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if time.time() - row[1] > DAY_S:
            self._db.execute("UPDATE replies SET used = ? WHERE key = ?", (time.time(), key))
        return self._read(row[0], kind)

    def _read(self, text: str, kind: type[Reply]) -> Reply:
        content = json.loads(text)
        stored = content.pop("provenance")
        is_own = self._run != "" and stored.get("run") == self._run
        usage = Usage(**stored["usage"])
        provenance = Provenance(
            FinishReason(stored["finish_reason"]),
            usage,
            stored["system_fingerprint"],
            is_cached=not is_own,
        )
        return kind(**content, provenance=provenance)

    def put(
        self, key: bytes, call: Call, model: TeacherModel, reply: AnnotationReply | AnswerReply
    ) -> None:
        if self._failure is not None:
            raise self._failure
        now, cost_usd = time.time(), reply.provenance.usage.cost_usd
        asked = (call.kind, call.image_sha256, call.asked, _written(reply, self._run))
        self._unwritten[key] = (self._id(model), *asked, cost_usd, now, now)
        if len(self._unwritten) == 1:
            self._flush_soon()

    def _flush_soon(self) -> None:
        """At once where no event loop runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            loop.call_later(WRITE_EVERY_S, self._flush_in_time)

    def _flush_in_time(self) -> None:
        try:
            self.flush()
        except sqlite3.Error as error:  # nobody to raise it to: the next reply meets it
            self._failure = error

    def _id(self, model: TeacherModel) -> int:
        if model not in self._models:
            self._models[model] = next(
                row
                for (row,) in self._db.execute(
                    "INSERT INTO models (fingerprint, serving_sha256, name) VALUES (?, ?, ?) "
                    "ON CONFLICT DO UPDATE SET name = excluded.name RETURNING id",
                    (model.fingerprint, model.serving_sha256, model.name),
                )
            )
        return self._models[model]

    def paid_usd(self, run: str) -> float:
        """By that run, for all that it ever put here."""
        return next(
            (
                float(usd)
                for (usd,) in self._db.execute("SELECT cost_usd FROM payers WHERE run = ?", (run,))
            ),
            0.0,
        )

    def model(self, fingerprint: str) -> TeacherModel:
        """The one whose fingerprint begins so, as it was served last. Raises NotFound: none, or several."""
        found = [row for row in self.models() if row.fingerprint.startswith(fingerprint)]
        if len({row.fingerprint for row in found}) != 1:
            count = f"{len(found)} models" if found else "no model"
            raise NotFound(
                f"the teacher cache {self.path} holds {count} whose fingerprint begins with {fingerprint!r}: "
                "`mpa-orch cache show` lists them"
            )
        return TeacherModel(found[0].fingerprint, found[0].serving_sha256, found[0].name)

    def models(self) -> Iterator[ModelRow]:
        """The one used last comes first."""
        rows = self._db.execute(
            "SELECT fingerprint, serving_sha256, name, sum(kind = 'annotate'), sum(kind = 'answer'), sum(cost_usd), min(made), "
            "max(used) AS last FROM replies JOIN models ON models.id = replies.model GROUP BY models.id ORDER BY last DESC"
        )
        return (ModelRow(*row) for row in rows)

    @property
    def bytes(self) -> int:
        """What the replies take; the file may be a little larger while others are at work."""
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
        """How many replies went: unused for that long, of models whose fingerprint begins so, the longest unused beyond a size.

        Those given at once narrow one another, but for the size, which holds for what is left.
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
        self._db.executescript(
            "PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)"
        )  # `execute` frees one page
        return gone

    def _delete(self, where: str, *values: float | int | str) -> int:
        return self._db.execute(f"DELETE FROM replies WHERE {where}", values).rowcount


@contextmanager
def looking_into(path: Path) -> Iterator[Cache]:
    """For looking into it. Raises MpaError where it can't be used, whenever that shows."""
    cache = Cache(path)
    try:
        yield cache
    except sqlite3.Error as error:
        raise _useless(path, error) from error
    finally:
        cache.close()


def paid_usd(path: Path, run: str) -> float:
    """By that run; 0 where there is no cache that can be used."""
    if not path.exists():
        return 0.0
    try:
        with looking_into(path) as cache:
            return cache.paid_usd(run)
    except MpaError:
        return 0.0


def _useless(path: Path, error: Exception) -> MpaError:
    return MpaError(
        f"the teacher cache {path} can't be used ({error}): make room, remove it, or name another in MPA_CACHE"
    )


def _written(reply: AnnotationReply | AnswerReply, run: str) -> str:
    content = {field.name: getattr(reply, field.name) for field in fields(reply)}
    provenance = reply.provenance
    content["provenance"] = {
        "finish_reason": provenance.finish_reason,
        "system_fingerprint": provenance.system_fingerprint,
        "usage": {field.name: getattr(provenance.usage, field.name) for field in fields(Usage)},
        "run": run,
    }
    return json.dumps(content, ensure_ascii=False)
