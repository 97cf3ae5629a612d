"""SHA-256 of files, each read once: a hash is remembered until the file's state changes."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_SETTLED_NS = 50_000_000
"""Age of a file from which its times show every change: clocks of file systems tick at 10 ms."""
_MOST = 65_536
"""Files to remember; beyond them all are forgotten."""


@dataclass(frozen=True, slots=True)
class _State:
    """State of a file that any change of its content alters."""

    size: int
    modified_ns: int
    changed_ns: int

    @staticmethod
    def of(stat: os.stat_result) -> _State:
        return _State(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def is_settled(self, now_ns: int) -> bool:
        return now_ns - max(self.modified_ns, self.changed_ns) > _SETTLED_NS


class FileHashes:
    """Hashes by device and inode, so that a renamed folder keeps them. Safe for several threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[_State, str]] = {}
        self._lock = threading.Lock()

    def sha256(self, path: Path) -> str:
        """Hex SHA-256 of a file. Reads all of it if its state is new. Raises OSError."""
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            key = (stat.st_dev, stat.st_ino)
            state = _State.of(stat)
            with self._lock:
                known, digest = self._known.get(key, (None, ""))
            if known == state:
                return digest
            began_ns = time.time_ns()
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            is_same = _State.of(os.fstat(file.fileno())) == state
        if is_same and state.is_settled(began_ns):
            with self._lock:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[key] = (state, digest)
        return digest


HASHES = FileHashes()
