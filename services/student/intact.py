"""Integrity of a version's files.

A full check reads everything. Between full checks, sizes and times of the files show any change.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from services.core.errors import InvalidInput, MpaError

_log = logging.getLogger(__name__)
CORRUPT = "VERSION_CORRUPT"
CARD = "README.md"
ADDED_LATER = ("canaries", CARD)
"""Parts that may be added to a version later: a subfolder and a file."""

Glance: TypeAlias = Mapping[str, tuple[int, ...]]
"""Size, inode and times of each file of a version, by its relative path."""


def glance(folder: Path) -> Glance:
    found = {}
    for above, folders, files in os.walk(folder):
        if Path(above) == folder:
            folders[:] = [name for name in folders if name not in ADDED_LATER]
            # The card is written under another name first (files.py).
            files = [name for name in files if not name.lstrip(".").startswith(CARD)]
        for name in files:
            path = Path(above, name)
            with suppress(FileNotFoundError):
                stat = path.stat()
                found[str(path.relative_to(folder))] = (
                    stat.st_size,
                    stat.st_ino,
                    stat.st_mtime_ns,
                    stat.st_ctime_ns,
                )
    return found


def require_same(version: str, before: Glance, after: Glance, when: str) -> None:
    """Raises InvalidInput, naming the files that differ."""
    changed = sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    if changed:
        raise InvalidInput(
            f"version {version} was changed on disk while it was {when} ({', '.join(changed)}): "
            "repeat once nothing writes to its folder",
            reason=CORRUPT,
        )


@dataclass(frozen=True, slots=True)
class _Verdict:
    seen: Glance
    fault: str


class Watch:
    """Verifier of versions. It remembers sizes and times of the verified files."""

    def __init__(self, folder: Callable[[str], Path], verify: Callable[[str], None]) -> None:
        self._folder = folder
        self._verify = verify
        self._verdicts: dict[str, _Verdict] = {}
        self._one_at_a_time = Lock()

    def verify(self, name: str) -> None:
        """Read all files of a version. Raises MpaError: damaged, or changed during the check."""
        before = glance(self._folder(name))
        try:
            self._verify(name)
            require_same(name, before, glance(self._folder(name)), "read")
        except MpaError as error:
            self._verdicts[name] = _Verdict(before, str(error))
            raise
        self._verdicts[name] = _Verdict(before, "")

    def require_unchanged(self, name: str) -> None:
        """Raises InvalidInput: the files have changed since they were verified."""
        require_same(name, self._verdicts[name].seen, glance(self._folder(name)), "loaded")

    def fault(self, name: str) -> str:
        """Fault of a version's files; "" if none is known.

        Only files that have changed since their last check are read. Files that were never verified
        count as whole: they are verified before use.
        """
        with self._one_at_a_time:
            known = self._verdicts.get(name)
            if known is not None and known.seen != glance(self._folder(name)):
                try:
                    self.verify(name)
                except MpaError as error:
                    _log.error("%s", error)
            return self._verdicts[name].fault if known else ""
