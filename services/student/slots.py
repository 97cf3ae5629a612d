"""Hot swap: versions side by side in memory, a pointer to the live one, and leases that let requests end where they began.

    LOADING -> AVAILABLE -> DRAINING -> (gone)
       `----> FAILED

Invariants: the live version is AVAILABLE; a slot in memory has its leases counted, and is unloaded only at zero; between
looking a version up and leasing it nothing is awaited, so no request falls between two versions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum

from services.core.errors import Conflict, MpaError, NotFound, Unavailable, WrongState
from services.engines.model import VisionLanguageModel
from services.student.store import Contract, Pointers, VersionStore

_log = logging.getLogger(__name__)

LoadVersion = Callable[[str], Awaitable[VisionLanguageModel]]


class SlotState(StrEnum):
    """As mpa.v1.VersionState."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    AVAILABLE = "available"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(slots=True)
class Slot:
    """One version in memory."""

    name: str
    contract: Contract
    state: SlotState = SlotState.LOADING
    model: VisionLanguageModel | None = None
    error: str = ""
    leases: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Lease:
    """A hold on a loaded version for the length of one request."""

    version: str
    contract: Contract
    model: VisionLanguageModel


class Slots:
    """The loaded versions of one student. `load` verifies, loads and tries a version; it raises MpaError if any of it fails."""

    def __init__(self, store: VersionStore, load: LoadVersion, max_loaded: int) -> None:
        self._store = store
        self._load = load
        self._max_loaded = max(2, max_loaded)
        self._slots: dict[str, Slot] = {}
        self._changing = asyncio.Lock()
        self._pointers = Pointers()

    @property
    def pointers(self) -> Pointers:
        return self._pointers

    def state(self, name: str) -> tuple[SlotState, str, int]:
        """State, error and leases of a version."""
        slot = self._slots.get(name)
        return (slot.state, slot.error, slot.leases) if slot else (SlotState.UNLOADED, "", 0)

    @contextmanager
    def lease(self, version: str = "") -> Iterator[Lease]:
        """Holds `version`, or the live one. Raises NotFound, WrongState (pinned but not loaded), Unavailable (nothing live)."""
        slot = self._find(version)
        assert slot.model is not None
        slot.leases += 1
        slot.idle.clear()
        try:
            yield Lease(slot.name, slot.contract, slot.model)
        finally:
            slot.leases -= 1
            if slot.leases == 0:
                slot.idle.set()

    def _find(self, version: str) -> Slot:
        name = version or self._pointers.live
        if not name:
            raise Unavailable("no version is live yet")
        slot = self._slots.get(name)
        if slot is not None and slot.state is SlotState.AVAILABLE:
            return slot
        self._store.path(name)
        raise WrongState(
            f"version {name} is not loaded: load or promote it first, or leave the version out", reason="VERSION_NOT_LOADED"
        )

    async def start(self) -> None:
        """Loads the live version; if that is damaged, the previous one. Raises the error of the live one if neither loads."""
        pointers = self._store.pointers()
        async with self._changing:
            try:
                await self._bring_in(pointers.live)
                self._pointers = pointers
            except MpaError as error:
                if not pointers.previous:
                    raise
                _log.error("live version %s does not load (%s): going back to %s", pointers.live, error, pointers.previous)
                await self._bring_in(pointers.previous)
                self._move(Pointers(live=pointers.previous))

    async def load(self, name: str) -> None:
        """Loads a version beside the live one and makes it the candidate."""
        self._store.path(name)
        async with self._changing:
            await self._bring_in(name)
            if name != self._pointers.live:
                self._move(replace(self._pointers, candidate=name))

    async def promote(self, name: str, expected_live: str = "") -> Pointers:
        """Makes `name` live. Raises NotFound, Conflict (another is live) and what loading raises; then the pointer stays."""
        self._store.path(name)
        async with self._changing:
            live = self._pointers.live
            if expected_live and live != expected_live:
                raise Conflict(
                    f"version {live} is live, not {expected_live} as expected: look again before you promote",
                    reason="LIVE_CHANGED",
                )
            if name == live:
                return self._pointers
            await self._bring_in(name)
            candidate = "" if self._pointers.candidate == name else self._pointers.candidate
            self._move(Pointers(live=name, candidate=candidate, previous=live))
            return self._pointers

    async def rollback(self) -> Pointers:
        """Makes the previous version live again; the one left becomes previous, so that a second rollback undoes the first."""
        previous = self._pointers.previous
        if not previous:
            raise WrongState("there is no previous version to go back to", reason="NO_PREVIOUS_VERSION")
        return await self.promote(previous)

    async def close(self) -> None:
        async with self._changing:
            for name in list(self._slots):
                await self._take_out(name)

    def _move(self, pointers: Pointers) -> None:
        """On disk first: after a crash the service comes back with what it last said."""
        self._store.point(pointers)
        self._pointers = pointers

    async def _bring_in(self, name: str) -> None:
        known = self._slots.get(name)
        if known is not None and known.state is SlotState.AVAILABLE:
            return
        if not name:
            raise NotFound("no version is named")
        await self._make_room(keep=name)
        slot = self._slots[name] = Slot(name, self._store.manifest(name).contract)
        try:
            slot.model = await self._load(name)
        except BaseException as error:
            slot.state, slot.error = SlotState.FAILED, str(error)
            raise
        slot.idle.set()
        slot.state = SlotState.AVAILABLE

    async def _make_room(self, keep: str) -> None:
        """Unloads the longest-loaded versions that no pointer but `candidate` names, until one more fits."""
        needed = {keep, self._pointers.live}
        loaded = [name for name, slot in self._slots.items() if slot.model is not None and name not in needed]
        loaded.sort(key=lambda name: name in (self._pointers.previous, self._pointers.candidate))
        while loaded and sum(slot.model is not None for slot in self._slots.values()) >= self._max_loaded:
            await self._take_out(loaded.pop(0))

    async def _take_out(self, name: str) -> None:
        slot = self._slots[name]
        if slot.model is not None:
            slot.state = SlotState.DRAINING
            await slot.idle.wait()
            await slot.model.close()
        del self._slots[name]
