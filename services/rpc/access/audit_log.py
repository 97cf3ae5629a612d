"""A log of control actions: who did what, when, and with what result.

One JSON object a line, on disk before the caller gets a reply. It holds no secrets, and no text of
questions or answers.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from services.core.errors import MpaError, PermissionDenied
from services.rpc.access.caller import the_caller
from services.rpc.request_id import current_request_id
from services.rpc.shortening import NAME_BYTES, shortened

MOST_BYTES = 16 * 2**20
"""Size from which a new file is begun."""
KEPT = 8
"""Earlier files that are kept: audit.1.jsonl is the newest of them."""
REFUSALS_EVERY_S = 1.0
"""Shortest time between two lines about refusals of a key, which must not push out other lines."""
BEGUN, OK = "BEGUN", "OK"
_log = logging.getLogger(__name__)


class AuditLog:
    """The file of one service. A disk that takes no line is reported once, and stops no action."""

    def __init__(self, path: Path, kept: int = KEPT, most_bytes: int = MOST_BYTES) -> None:
        """`kept`: earlier files that stay; 0 keeps all."""
        self._path = path
        self._kept = kept
        self._most_bytes = most_bytes
        self._writing = asyncio.Lock()
        self._is_silent = False
        self._next_refusals: dict[str, float] = {}

    async def write(self, action: str, result: str, **facts: Any) -> None:
        """Adds a line about the caller of the request under way."""
        caller = the_caller()
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "action": action,
            "result": result,
            "key": caller.id,
            "name": caller.key.name if caller.key else "",
            "certificate": shortened(caller.certificate, NAME_BYTES),
            "address": caller.address,
            "request_id": current_request_id.get(),
            **{name: value for name, value in facts.items() if value},
        }
        async with self._writing:
            await asyncio.to_thread(self._append, json.dumps(entry).encode() + b"\n")

    async def refused(self, action: str, error: PermissionDenied) -> None:
        """Adds a line about a caller whose key lacks the role; at most one a second for a key."""
        now, key = time.monotonic(), the_caller().id
        if now >= self._next_refusals.get(key, 0.0):
            self._next_refusals[key] = now + REFUSALS_EVERY_S
            await self.write(action, result_of(error), role=error.role)

    def _append(self, line: bytes) -> None:
        try:
            self._rotate()
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "r+b", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size and os.pread(file.fileno(), 1, size - 1) != b"\n":  # a crash cut it off
                    line = b"\n" + line
                try:
                    if file.write(line) != len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(size)  # half a line is none
                    raise
        except OSError as error:
            if not self._is_silent:
                _log.error("control actions are not audited: %s: %s", self._path, error)
            self._is_silent = True
        else:
            self._is_silent = False

    def _rotate(self) -> None:
        if not self._path.is_file() or self._path.stat().st_size < self._most_bytes:
            return
        there = 0
        while self._earlier(there + 1).is_file() and there + 1 != self._kept:
            there += 1
        if (oldest := self._earlier(there + 1)).is_file():
            _log.warning(
                "%s is removed, whose last line is of %s: copy these files elsewhere in time, or "
                "set MPA_STUDENT_AUDIT_FILES higher (0 keeps all)",
                oldest,
                time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(oldest.stat().st_mtime)),
            )
        for number in range(there, 0, -1):
            self._earlier(number).replace(self._earlier(number + 1))
        self._path.replace(self._earlier(1))

    def _earlier(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.stem}.{number}{self._path.suffix}")


def result_of(error: BaseException) -> str:
    """The result of an action that failed: the reason that its caller reads."""
    if isinstance(error, MpaError):
        return error.reason
    return "CANCELLED" if isinstance(error, asyncio.CancelledError) else "INTERNAL"
