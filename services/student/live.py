"""Pointers of the running service. A move is written to disk first."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from services.student.pointers import Pointers
from services.student.store import VersionStore

_log = logging.getLogger(__name__)


class ServedPointers(Protocol):
    """Pointers that requests follow."""

    now: Pointers

    async def move(self, pointers: Pointers) -> None:
        """Replace `now`. After any error it is as before."""


class LivePointers:
    """Pointers of a store's owner. `now` is replaced once a move is on disk."""

    def __init__(self, store: VersionStore) -> None:
        self._store = store
        self.now = Pointers()

    async def move(self, pointers: Pointers) -> None:
        """Move the pointers on disk, then in memory. After any error both are as before.

        After a crash, the service starts with the version that it last reported. No request
        waits for the disk.
        """
        moving = asyncio.ensure_future(asyncio.to_thread(self._store.point, pointers))
        try:
            await asyncio.shield(moving)
        except BaseException:
            await asyncio.wait({moving})
            await asyncio.to_thread(self._move_back)
            raise
        self.now = pointers

    def _move_back(self) -> None:
        """Undo a failed write, which may have reached the disk anyway."""
        try:
            if self._store.pointers() != self.now:
                self._store.point(self.now)
        except Exception:
            _log.exception("check the pointers on disk: live must be %s", self.now.live)


class FollowedPointers:
    """Pointers of a follower: the owner of the store has moved those on disk."""

    def __init__(self) -> None:
        self.now = Pointers()

    async def move(self, pointers: Pointers) -> None:
        self.now = pointers
