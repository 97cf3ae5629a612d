"""Quotas of a key that outlive the service: disk space of its data sets, trainings of a day.

STORE/datasets/<dataset>.owner names the key and the bytes that its upload is charged for: the
samples and all images that it sent. Images that several data sets name are charged to each.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from services.core.errors import InvalidInput, MpaError, Overloaded
from services.files import write_atomically
from services.student.jobs import TrainingJobs
from services.student.records import read_record

RETRY_AFTER_S = 60.0
DAY_S = 86_400.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DatasetOwner:
    """The key that uploaded a data set last, and the bytes that it is charged for."""

    key: str
    size_bytes: int


class StorageAccounts:
    """Bytes of data sets by key. Its methods may be called by threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._used: Counter[str] = Counter()

    def load(self) -> None:
        """Read the notes on disk. A note without its data set is removed."""
        with self._lock:
            self._used.clear()
            for path in self._folder.glob("*.owner"):
                if not path.with_suffix(".jsonl").is_file():
                    path.unlink(missing_ok=True)
                elif owner := self._owner(path.stem):
                    self._used[owner.key] += owner.size_bytes

    def take(self, key: str, size_bytes: int, most_bytes: int) -> None:
        """Charge a key for bytes of an upload under way; 0 is no limit. Raises Overloaded."""
        with self._lock:
            if most_bytes and self._used[key] + size_bytes > most_bytes:
                raise Overloaded(
                    f"the data sets of your key take {self._used[key]:,} of the {most_bytes:,} "
                    "bytes allowed: send fewer images, or ask the service's operator for more",
                    retry_after_s=RETRY_AFTER_S,
                    limit="key_storage_bytes",
                )
            self._used[key] += size_bytes

    def give_back(self, key: str, size_bytes: int) -> None:
        with self._lock:
            self._used[key] -= size_bytes

    def keep(self, dataset: str, owner: DatasetOwner) -> None:
        """Note the owner of a new data set. Whoever uploaded it before is charged no more.

        Raises MpaError: the disk is full.
        """
        with self._lock:
            before = self._owner(dataset)
            write_atomically(self._path(dataset), json.dumps(asdict(owner)))
            if before:
                self._used[before.key] -= before.size_bytes

    def forget(self, dataset: str) -> None:
        """Charge nobody for a data set that is removed."""
        with self._lock:
            if owner := self._owner(dataset):
                self._used[owner.key] -= owner.size_bytes
            with suppress(OSError):
                self._path(dataset).unlink(missing_ok=True)

    def _path(self, dataset: str) -> Path:
        return self._folder / f"{dataset}.owner"

    def _owner(self, dataset: str) -> DatasetOwner | None:
        path = self._path(dataset)
        if not path.is_file():
            return None
        try:
            return read_record(DatasetOwner, path, "remove it; the data set is charged to nobody")
        except InvalidInput as error:
            _log.error("%s", error)
            return None


def require_training(jobs: TrainingJobs, key: str, most: int) -> None:
    """Raises Overloaded: the key has started `most` trainings within the last 24 hours."""
    now = time.time()
    started = []
    for at, name in reversed(jobs.starts()):
        if at < now - DAY_S:
            break
        with suppress(MpaError):  # a damaged job is nobody's
            if jobs.job(name).key == key:
                started.append(at)
    if len(started) >= most:
        raise Overloaded(
            f"your key has started {len(started)} trainings within 24 hours, and {most} are "
            "allowed: wait, or ask the service's operator for more",
            retry_after_s=max(1.0, started[most - 1] + DAY_S - now),
            limit="key_trainings_per_day",
        )


class StorageAccount:
    """Bytes that one upload is charged for. `key`: "" charges nobody."""

    def __init__(self, accounts: StorageAccounts, key: str = "", most_bytes: int = 0) -> None:
        self._accounts = accounts
        self._key = key
        self._most_bytes = most_bytes
        self._size_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Raises Overloaded: the key's quota is used up."""
        if self._key:
            self._accounts.take(self._key, size_bytes, self._most_bytes)
            self._size_bytes += size_bytes

    @contextmanager
    def charged(self, dataset: str, unused_bytes: int) -> Iterator[None]:
        """Charge the key, less `unused_bytes`, for the data set that is completed inside.

        The note comes first: a kill leaves no data set that nobody is charged for. Raises MpaError:
        the disk is full.
        """
        if not self._key:
            yield
            return
        self._accounts.keep(dataset, DatasetOwner(self._key, self._size_bytes - unused_bytes))
        self._accounts.give_back(self._key, unused_bytes)
        self._size_bytes = 0
        try:
            yield
        except MpaError:
            self._accounts.forget(dataset)
            raise

    def end(self) -> None:
        """Charge nothing for an unfinished upload. It does nothing after `charged`."""
        if self._size_bytes:
            self._accounts.give_back(self._key, self._size_bytes)
            self._size_bytes = 0
