"""A student that follows the store of another: it serves, and the store's owner decides.

It reads the pointers every POLL_S and swaps by itself, after its own canaries. If it can't load the
version that has become live, it leaves the rotation (NOT_SERVING), tries again, and returns when it
can, or when the owner has gone back to the version that it has loaded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from services.core.errors import MpaError, WrongState, described
from services.student.endpoint import StudentEndpoint
from services.student.heartbeat import (
    FollowerNote,
    FollowerState,
    Heartbeat,
    own_address,
)
from services.student.live import FollowedPointers
from services.student.pointers import Pointers
from services.student.settings import StudentSettings
from services.student.store import VersionStore

POLL_S = 0.25
"""Pause between two looks at the pointers: one small file is opened and read."""
RETRY_S, LONGEST_RETRY_S = 2.0, 60.0
"""Pauses before a version that could not be loaded is tried again."""

_log = logging.getLogger(__name__)


class FollowingStudent(StudentEndpoint):
    """Follower of one store, which it only reads; its note there tells the owner about it."""

    def __init__(self, settings: StudentSettings) -> None:
        self._root = settings.store
        store = VersionStore(settings.store, is_owner=False)
        super().__init__(settings, store, FollowedPointers())
        note = FollowerNote(own_address(settings.rpc.listen))
        self._heartbeat = Heartbeat(settings.store, note)
        self._tasks: list[asyncio.Task[None]] = []
        self._is_behind = asyncio.Event()
        self._has_caught_up = asyncio.Event()
        self._trouble = ""
        self._tried: Pointers | None = None
        self._retry_at = 0.0
        self._retry_s = RETRY_S

    @property
    def owner(self) -> str:
        return self._heartbeat.owner or "unknown"

    def refusal(self) -> WrongState:
        """The error for a request that only the owner can do."""
        return WrongState(
            f"this student follows the store {self._root}: send trainings, promotions and "
            f"deletions to its owner ({self.owner})",
            reason="FOLLOWER",
        )

    async def start(self) -> None:
        """Wait for the owner's first version, and load the live one."""
        self._tasks = [
            asyncio.create_task(self._heartbeat.go_on()),
            asyncio.create_task(self._follow()),
        ]
        if not (await asyncio.to_thread(self.store.pointers)).live:
            _log.warning(
                "the store %s has no live version: waiting for its owner; start one with "
                "`mpa-orch serve student` and the same MPA_STUDENT_STORE",
                self._root,
            )
        await self._has_caught_up.wait()

    def end_waits(self) -> None:
        """Do nothing: only the owner of the store has calls that wait."""

    async def death(self) -> str:
        """Wait until the live version's engine dies, or this service falls behind the owner."""
        ways = [
            asyncio.create_task(self.versions.death()),
            asyncio.create_task(self._fall_behind()),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for way in ways:
                way.cancel()

    async def _fall_behind(self) -> str:
        await self._is_behind.wait()
        return self._trouble

    async def revive(self) -> None:
        await self._has_caught_up.wait()
        await self.versions.revive()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await super().close()
        await asyncio.to_thread(self._heartbeat.end)

    async def _follow(self) -> None:
        fault = ""
        while True:
            try:
                pointers = await asyncio.to_thread(self._pointers)
                if pointers.live:
                    await self._catch_up(pointers)
                fault = ""
            except Exception as error:
                if fault != described(error):
                    _log.exception("the pointers of %s can't be followed: trying again", self._root)
                fault = described(error)
                await asyncio.sleep(RETRY_S)
            await asyncio.sleep(POLL_S)

    def _pointers(self) -> Pointers:
        """The pointers on disk. A change is believed when it is read twice.

        A network file system may fail to read a file at the moment of its replacement, and then the
        pointers come from their copy, which is older.
        """
        known = self._tried or Pointers()
        pointers = self.store.pointers()
        is_certain = pointers == known or pointers == self.store.pointers()
        return pointers if is_certain else known

    async def _catch_up(self, pointers: Pointers) -> None:
        is_new = pointers != self._tried
        is_served = pointers.live == self.versions.pointers.live
        is_behind = not (is_served and self._has_caught_up.is_set())
        if not is_new and not (is_behind and time.monotonic() >= self._retry_at):
            return
        if is_new:
            self._tried = pointers
            self._retry_s = RETRY_S
            if is_behind:
                await self._note(FollowerState.LOADING, pointers, self._trouble)
        try:
            await self.versions.follow(pointers)
        except MpaError as error:
            self._retry_at = time.monotonic() + self._retry_s
            self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)
            await self._leave(pointers, str(error))
            return
        await self._join(pointers)
        if pointers.candidate:
            with suppress(MpaError):  # logged; the owner and others may have it
                await self.versions.follow_candidate(pointers.candidate)
            await self._note(FollowerState.SERVING, pointers)

    async def _leave(self, pointers: Pointers, why: str) -> None:
        """Leave the rotation: the live version is another than the one that is loaded here."""
        _log.error("out of the rotation: version %s is live, and %s", pointers.live, why)
        self._trouble = why
        self._has_caught_up.clear()
        self._is_behind.set()
        await self._note(FollowerState.FAILED, pointers, why)

    async def _join(self, pointers: Pointers) -> None:
        self._trouble = ""
        self._is_behind.clear()
        self._has_caught_up.set()
        await self._note(FollowerState.SERVING, pointers)

    async def _note(self, state: FollowerState, pointers: Pointers, error: str = "") -> None:
        await self._heartbeat.change(
            state=state,
            version=self.versions.pointers.live,
            wanted=pointers.live,
            loaded=tuple(self.versions.loaded()),
            error=error,
        )
