"""Followers of a store, as its owner sees them: by their notes (heartbeat.py).

Clocks of machines differ, so a follower's silence is measured by the owner: the time since its note
last changed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidInput
from services.student.heartbeat import BEAT_S, FollowerNote, FollowerState, followers_folder
from services.student.records import read_record

LOST_S = 10.0
"""Silence after which a follower no longer counts: nobody waits for it."""
FORGET_S = 3600.0
"""Silence after which its note is removed, and the versions that it needs may be deleted."""
LOOK_S = 0.1
"""Pause between two looks while the owner waits for its followers."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Follower:
    """A follower's last note, and the seconds since then."""

    note: FollowerNote
    silent_s: float

    @property
    def is_lost(self) -> bool:
        return self.silent_s > LOST_S

    @property
    def trouble(self) -> str:
        """Why it does not serve the live version; "" if it does."""
        if self.is_lost:
            return f"no heartbeat for {self.silent_s:.0f} s: is it down, or its disk full?"
        if self.note.state is FollowerState.FAILED:
            return f"it can't load {self.note.wanted} and has left the rotation: {self.note.error}"
        if self.note.state is FollowerState.LOADING:
            return f"it is loading {self.note.wanted or 'its first version'}"
        return ""


@dataclass(frozen=True, slots=True)
class _Seen:
    note: FollowerNote
    at: float


class Followers:
    """Followers of the store in `root`. `limit_s`: longest wait for them to swap."""

    def __init__(self, root: Path, limit_s: float) -> None:
        self._folder = followers_folder(root)
        self._limit_s = limit_s
        self._seen: dict[str, _Seen] = {}
        self._unreadable: set[str] = set()

    async def watch(self) -> None:
        """Look every BEAT_S, until cancelled, so that silence is noticed."""
        while True:
            await self.look()
            await asyncio.sleep(BEAT_S)

    async def look(self) -> dict[str, Follower]:
        """Read the notes again: all followers by their id."""
        self._seen = await asyncio.to_thread(self._read, dict(self._seen))
        now = time.monotonic()
        return {name: Follower(seen.note, now - seen.at) for name, seen in self._seen.items()}

    def _read(self, before: dict[str, _Seen]) -> dict[str, _Seen]:
        found = {}
        now = time.monotonic()
        try:
            paths = sorted(self._folder.glob("[!.]*.json"))
        except OSError as error:
            _log.error("%s can't be read: %s", self._folder, error)
            return before
        for path in paths:
            seen = before.get(path.name)
            try:
                note = read_record(FollowerNote, path, "its follower writes it again")
            except InvalidInput as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    continue  # it has just left
                if path.name not in self._unreadable:
                    self._unreadable.add(path.name)
                    _log.error("a follower is not counted: %s", error)
                if seen is not None:
                    found[path.name] = seen
                continue
            if seen is None or seen.note != note:
                seen = _Seen(note, now)
            if now - seen.at > FORGET_S:
                _log.warning("follower %s is forgotten: %g s of silence", note.address, FORGET_S)
                with suppress(OSError):
                    path.unlink()
                continue
            found[path.name] = seen
        return found

    def needs(self, name: str) -> str:
        """Reason to keep a version on disk, by the last look; "" if no follower has loaded it."""
        for seen in self._seen.values():
            if name in (*seen.note.loaded, seen.note.wanted):
                return f"the follower at {seen.note.address} serves it"
        return ""

    async def serving(self, version: str = "") -> set[str]:
        """Ids of followers in the rotation, or of those that serve `version` there."""
        return {
            name
            for name, follower in (await self.look()).items()
            if not follower.is_lost
            and follower.note.state is FollowerState.SERVING
            and follower.note.version == (version or follower.note.version)
        }

    async def trouble(self, version: str, awaited: set[str]) -> str:
        """Wait until all `awaited` followers serve `version`. "" if they do, else the reason.

        A follower that leaves or is lost meanwhile is not waited for.
        """
        until = time.monotonic() + self._limit_s
        while True:
            now = await self.look()
            late = [
                now[name]
                for name in awaited
                if name in now
                and not now[name].is_lost
                and (now[name].note.version, now[name].note.state)
                != (version, FollowerState.SERVING)
            ]
            if not late:
                return ""
            for follower in late:
                note = follower.note
                if note.state is FollowerState.FAILED and note.wanted == version:
                    return f"the follower at {note.address} can't load it: {note.error}"
            if time.monotonic() > until:
                places = ", ".join(follower.note.address for follower in late)
                return f"not all followers have loaded it within {self._limit_s:g} s: {places}"
            await asyncio.sleep(LOOK_S)
