"""Patience with remote file systems: failed access is repeated with growing waits.

At the end of patience the run stops and can be resumed.
"""

from __future__ import annotations

import io
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, TypeVar

from services.core.errors import MpaError, NotFound, Unavailable

T = TypeVar("T")

PATIENCE_S = 60.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 16.0
"""Waits between two attempts; each is twice the one before."""
ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
DAMAGE = (zipfile.BadZipFile, zlib.error)
"""Errors of an archive that was read and is broken."""
NO_ACCESS = frozenset(
    {"PermissionError", "NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError"}
)
"""Names of classes, since each file system has its own library of errors."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Repeated access for `seconds` (0: one attempt).

    A far store is believed if it reports that a file doesn't exist. Any other error says nothing
    about the file.
    """

    seconds: float = PATIENCE_S
    abandoned: threading.Event = field(default_factory=threading.Event)

    def with_(self, action: Callable[[], T], what: str) -> T:
        """Repeat `action`. Raises NotFound at once; Unavailable if refused or out of patience."""
        until = time.monotonic() + self.seconds
        wait_s = FIRST_WAIT_S
        while True:
            try:
                return action()
            except (MpaError, *DAMAGE):
                raise
            except ABSENT as error:
                raise NotFound(f"there is no {what}") from error
            except Exception as error:  # whatever the library of that file system raises
                if type(error).__name__ in NO_ACCESS:
                    raise Unavailable(
                        f"{what} may not be read ({error}): check the credentials, then repeat"
                    ) from error
                left_s = until - time.monotonic()
                if left_s <= 0 or self.abandoned.wait(min(wait_s, left_s)):
                    said = f"{type(error).__name__}: {error}".rstrip(": ")
                    raise Unavailable(
                        f"{what} can't be reached ({said}): check the connection, then repeat"
                    ) from error
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def abandon(self) -> None:
        """Stop all waits: the run has ended."""
        self.abandoned.set()


class PatientFile(io.RawIOBase):
    """A far file. A read that fails is repeated from the same place."""

    def __init__(self, patience: Patience, file: IO[bytes], name: str) -> None:
        self._patience = patience
        self._file = file
        self._name = name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        position = self._file.tell()

        def read() -> bytes:
            self._file.seek(position)
            return self._file.read(len(buffer))

        data = self._patience.with_(read, self._name)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
