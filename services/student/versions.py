"""Hot swap: which version is live, and how another takes its place while requests go on.

    two slots    old and new side by side, the pointer flips, requests under way end where they began
    in place     one model fits: requests wait at the gate while the weights are replaced
    adapter      the new version is an adapter on an engine that is loaded: chosen per request

A version goes live only after its canaries have been answered as its trainer computed (canaries.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from services.core.errors import Conflict, MpaError, NotFound, Unavailable, WrongState
from services.engines.room import Room
from services.student.slots import Lease, Loader, Slot, Slots
from services.student.store import Pointers, VersionStore

_log = logging.getLogger(__name__)


class SwapWay(StrEnum):
    """As mpa.v1.SwapWay."""

    TWO_SLOTS = "two_slots"
    IN_PLACE = "in_place"
    ADAPTER = "adapter"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a version would be brought in, and why."""

    way: SwapWay
    reason: str


class VersionLoader(Loader, Protocol):
    """A Loader that knows how much room there is, and for what."""

    def takes_adapter(self, name: str) -> bool:
        """Whether engines are started to serve adapters of this version's rank."""

    def room(self, name: str) -> Room:
        """For one more engine that holds this version."""


class Versions:
    """The versions of one student. `way` "" is chosen by the memory that is found; `max_loaded` counts engines."""

    def __init__(
        self, store: VersionStore, loader: VersionLoader, *, max_loaded: int, max_adapters: int = 4, way: SwapWay | None = None
    ) -> None:
        self._store = store
        self._loader = loader
        self._max_loaded = max_loaded
        self._way = way
        self._slots = Slots(loader, max_loaded, max_adapters)
        self._changing = asyncio.Lock()
        self._pointers = Pointers()

    @property
    def pointers(self) -> Pointers:
        return self._pointers

    def slot(self, name: str) -> Slot | None:
        """None where the version is on disk only."""
        return self._slots.get(name)

    @asynccontextmanager
    async def lease(self, version: str = "") -> AsyncIterator[Lease]:
        """Holds `version`, or the live one. Raises NotFound, WrongState (pinned but not loaded), Unavailable (nothing live)."""
        await self._slots.pass_gate()
        name = version or self._pointers.live
        if not name:
            raise Unavailable("no version is live yet")
        if self._slots.get(name) is None:
            self._store.path(name)
        async with self._slots.lease(name) as lease:
            yield lease

    async def start(self) -> None:
        """Loads the live version; if that is damaged, the previous one. Raises the error of the live one if neither loads."""
        pointers = self._store.pointers()
        async with self._changing:
            try:
                await self._begin_with(pointers.live)
                self._pointers = pointers
            except MpaError as error:
                if not pointers.previous:
                    raise
                _log.error("live version %s does not load (%s): going back to %s", pointers.live, error, pointers.previous)
                await self._begin_with(pointers.previous)
                await self._move(Pointers(live=pointers.previous))
        plan = await self.plan(self._pointers.live)
        _log.info("a new version would be swapped in by way of %s: %s", plan.way, plan.reason)

    def rest(self) -> None:
        """Instead of `start`: knows what is live, and loads nothing until something is asked for by load or promote."""
        self._pointers = self._store.pointers()
        _log.info("not serving: %s is live, but not loaded", self._pointers.live)

    async def _begin_with(self, name: str) -> None:
        if not name:
            raise NotFound("no version is named")
        await self._slots.bring_in(name)

    async def death(self) -> str:
        """Returns, with the reason, when the engine of the live version has died; others are only marked as failed."""
        while True:
            name, reason = await self._slots.deaths.get()
            dead = self._slots.bury(name, reason)
            _log.error("the engine of %s has died: %s", ", ".join(sorted(dead)), reason)
            if self._pointers.live in dead:
                return reason
            async with self._changing:
                await self._slots.take_out_dead()

    async def revive(self) -> None:
        """Loads the live version into a new engine. Raises MpaError."""
        async with self._changing:
            await self._slots.take_out_dead()
            await self._slots.bring_in(self._pointers.live)

    async def plan(self, name: str) -> Plan:
        """How `name` would be brought in beside what is loaded now."""
        base = self._store.manifest(name).adapter_of
        if base and self._slots.adaptable(base) and self._loader.takes_adapter(name):
            return Plan(SwapWay.ADAPTER, f"{name} is an adapter of {base}, which is loaded")
        if self._way is not None:
            return Plan(self._way, "as set")
        if self._max_loaded == 1:
            return Plan(SwapWay.IN_PLACE, "at most 1 version may be loaded")
        room = await asyncio.to_thread(self._loader.room, name)
        return Plan(SwapWay.TWO_SLOTS if room.fits else SwapWay.IN_PLACE, str(room))

    async def load(self, name: str) -> None:
        """Loads a version beside the live one and makes it the candidate. Raises WrongState where only one model fits."""
        self._store.path(name)
        # A caller who hangs up must not leave a version half brought in.
        await asyncio.shield(asyncio.ensure_future(self._load(name)))

    async def _load(self, name: str) -> None:
        async with self._changing:
            if not self._is_available(name):
                plan = await self._make_room(name)
                if plan.way is SwapWay.IN_PLACE:
                    raise WrongState(
                        f"version {name} can't be loaded beside {self._pointers.live} ({plan.reason}): promote it, which "
                        "replaces the live version's weights, or make room",
                        reason="ONE_MODEL_FITS",
                    )
                await self._bring_in(name, plan)
            if name != self._pointers.live:
                await self._move(replace(self._pointers, candidate=name))

    async def promote(self, name: str, expected_live: str = "") -> tuple[Pointers, Plan]:
        """Makes `name` live. Raises NotFound, Conflict (another is live) and what loading raises; then the pointer stays."""
        self._store.path(name)
        return await asyncio.shield(asyncio.ensure_future(self._promote(name, expected_live)))

    async def _promote(self, name: str, expected_live: str) -> tuple[Pointers, Plan]:
        async with self._changing:
            live = self._pointers.live
            if expected_live and live != expected_live:
                raise Conflict(
                    f"version {live} is live, not {expected_live} as expected: look again before you promote",
                    reason="LIVE_CHANGED",
                )
            is_loaded = self._is_available(name)
            plan = Plan(self._way_of(name), f"{name} is loaded") if is_loaded else await self._make_room(name)
            if name == live:
                return self._pointers, plan
            candidate = "" if self._pointers.candidate == name else self._pointers.candidate
            pointers = Pointers(live=name, candidate=candidate, previous=live)
            if not is_loaded and plan.way is SwapWay.IN_PLACE:
                await self._slots.replace(live, name, lambda: self._move(pointers))
            else:
                if not is_loaded:
                    await self._bring_in(name, plan)
                await self._move(pointers)
            _log.info("%s is live, %s before; swapped by way of %s: %s", name, live, plan.way, plan.reason)
            return self._pointers, plan

    async def rollback(self) -> tuple[Pointers, Plan]:
        """Makes the previous version live again; the one left becomes previous, so that a second rollback undoes the first."""
        previous = self._pointers.previous
        if not previous:
            raise WrongState("there is no previous version to go back to", reason="NO_PREVIOUS_VERSION")
        return await self.promote(previous)

    async def close(self) -> None:
        async with self._changing:
            await self._slots.take_out_all()

    def _is_available(self, name: str) -> bool:
        slot = self._slots.get(name)
        return slot is not None and slot.is_available

    def _way_of(self, name: str) -> SwapWay:
        slot = self._slots.get(name)
        return SwapWay.ADAPTER if slot is not None and slot.base else SwapWay.TWO_SLOTS

    async def _make_room(self, name: str) -> Plan:
        """Unloads what must go for one more version; all that isn't needed before the live one's place is taken."""
        manifest = self._store.manifest(name)
        keep = {name, self._pointers.live, manifest.adapter_of}
        last = {self._pointers.previous, self._pointers.candidate}
        if self._max_loaded > 1:
            await self._slots.make_room(keep, last)
        plan = await self.plan(name)
        if plan.way is SwapWay.IN_PLACE:
            await self._slots.make_room({self._pointers.live}, last, all_unneeded=True)
            plan = await self.plan(name)
        return plan

    async def _bring_in(self, name: str, plan: Plan) -> None:
        base = self._store.manifest(name).adapter_of if plan.way is SwapWay.ADAPTER else ""
        await self._slots.bring_in(name, base=base)

    async def _move(self, pointers: Pointers) -> None:
        """On disk first: after a crash the service comes back with what it last said. No request waits for the disk."""
        await asyncio.to_thread(self._store.point, pointers)
        self._pointers = pointers
