"""Hot swap: another version goes live while requests continue.

    two slots    old and new are loaded, the pointer moves, requests end on the version they began
    in place     only one model fits: requests wait at the gate while the weights are replaced
    adapter      the new version is an adapter on a loaded engine, chosen per request

A version goes live only after it has answered its canaries as its trainer computed
(canary_check.py). After a failed swap, whatever the error, the live version is still live.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from services import metrics
from services.core.errors import (
    Conflict,
    MpaError,
    SwapFailed,
    Unavailable,
    WrongState,
)
from services.student.changes import Changes
from services.student.followers import Followers
from services.student.intact import CORRUPT
from services.student.live import LivePointers, ServedPointers
from services.student.plan import Plan, SwapWay
from services.student.planner import SwapPlanner, VersionLoader
from services.student.pointers import Pointers
from services.student.removal import VersionRemoval
from services.student.slot import Lease, Slot
from services.student.slots import END_S, Slots
from services.student.store import VersionStore
from services.student.swap import swap

_log = logging.getLogger(__name__)
_LOST = frozenset({CORRUPT, "VERSION_NOT_FOUND"})
"""Reasons for a version that the disk has lost."""


class Versions:
    """Versions of one student. `planner` plans swaps; see there for `max_loaded` and `way`.

    `live`: the pointers, by default those that this service moves on disk. `followers`: services
    that swap with it.
    """

    def __init__(
        self,
        store: VersionStore,
        loader: VersionLoader,
        *,
        max_loaded: int,
        max_adapters: int = 4,
        way: SwapWay | None = None,
        live: ServedPointers | None = None,
        followers: Followers | None = None,
    ) -> None:
        self._store = store
        self._slots = Slots(loader, max_loaded, max_adapters)
        self._live = live or LivePointers(store)
        self.planner = SwapPlanner(store, loader, self._slots, max_loaded=max_loaded, way=way)
        self._changing = asyncio.Lock()
        self.removal = VersionRemoval(store, self._slots, self._changing)
        self._changes = Changes(self._who_serves)
        self._followers = followers
        self._deciding = asyncio.Lock()

    @property
    def pointers(self) -> Pointers:
        return self._live.now

    def slot(self, name: str) -> Slot | None:
        """Slot of a version; None if the version is only on disk."""
        return self._slots.get(name)

    def loaded(self) -> list[str]:
        """Names of all versions in memory."""
        return self._slots.names()

    async def pass_gate(self) -> None:
        """Wait while weights are replaced in place. Raises Overloaded: too many wait already."""
        await self._slots.gate.enter()

    @asynccontextmanager
    async def lease(self, version: str = "") -> AsyncIterator[Lease]:
        """Hold `version`, or the live one, for one request.

        Raises NotFound; WrongState: the version is not loaded; Unavailable: nothing is live;
        Overloaded: too many requests wait for a swap.
        """
        await self.pass_gate()
        name = version or self.pointers.live
        if not name:
            raise Unavailable("no version is live yet")
        slot = self._slots.get(name)
        if slot is None:
            self._store.path(name)
        elif name == self.pointers.live and not slot.is_available:
            why = slot.error or "its engine had died"
            raise Unavailable(
                f"version {name} has failed ({why}): it is being loaded again, ask again"
            )
        async with self._slots.lease(name) as lease:
            yield lease

    async def start(self) -> None:
        """Load the live version; if it is damaged, the previous one, or else the newest whole one.

        Raises the error of the live version if no version loads.
        """
        pointers = self._store.pointers()
        async with self._changing:
            try:
                await self._slots.bring_in(pointers.live)
                self._live.now = pointers
            except Exception as error:
                await self._begin_instead(pointers, error)
        plan = await self.planner.plan(self.pointers.live)
        _log.info("way of the next swap: %s (%s)", plan.way, plan.reason)

    def rest(self) -> None:
        """Read the pointers without loading a version; `load` and `promote` do so later."""
        self._live.now = self._store.pointers()
        _log.info("not serving: live version %s is not loaded", self.pointers.live)

    async def _begin_instead(self, pointers: Pointers, error: Exception) -> None:
        """Load the previous version. If the disk lost both, load the newest whole one."""
        others = [pointers.previous] if pointers.previous else []
        if isinstance(error, MpaError) and error.reason in _LOST:
            known = (pointers.live, pointers.previous)
            others += [name for name in self._store.servable() if name not in known]
        for name in others:
            text = "live version %s does not load (%r): going back to %s"
            _log.error(text, pointers.live, error, name)
            try:
                await self._slots.bring_in(name)
            except Exception as another:
                _log.error("version %s does not load either: %r", name, another)
                continue
            await self._live.move(Pointers(live=name))
            return
        raise error

    async def death(self) -> str:
        """Wait until the live version's engine dies; return the reason. Free other dead engines."""
        while True:
            dead, reason = await self._slots.deaths.get()
            metrics.ENGINE_DEATHS.inc()
            _log.error("the engine of %s has died: %s", ", ".join(sorted(dead)), reason)
            if self._is_live_dead(dead):
                return reason
            async with self._changing:
                if self._is_live_dead(dead):  # it went live while it died
                    return reason
                await self._slots.take_out_dead()

    def _is_live_dead(self, dead: Collection[str]) -> bool:
        return self.pointers.live in dead and not self._slots.is_available(self.pointers.live)

    async def revive(self) -> None:
        """Load the live version again, unless a swap has done so. Raises the errors of loading."""
        async with self._changing:
            await self._slots.take_out_dead()
            if not self._slots.is_available(self.pointers.live):
                await self._slots.bring_in(self.pointers.live)

    async def load(self, name: str) -> None:
        """Load a version as the candidate. Raises as `promote` does; WrongState: one model fits."""
        self._store.path(name)
        await self._changes.finish(name, self._load(name))

    async def _load(self, name: str) -> None:
        async with self._changing:
            if not self._slots.is_available(name):
                plan = await self.planner.make_room(name, self.pointers)
                if plan.way is SwapWay.IN_PLACE:
                    raise WrongState(
                        f"version {name} can't be loaded next to {self.pointers.live} "
                        f"({plan.reason}): promote it, which replaces the live version's weights, "
                        "or free memory",
                        reason="ONE_MODEL_FITS",
                    )
                await self._bring_in(name, plan)
            if name != self.pointers.live:
                await self._live.move(replace(self.pointers, candidate=name))

    async def promote(self, name: str, expected_live: str = "") -> tuple[Pointers, Plan]:
        """Make version `name` live here and at all followers.

        After any error, the version that was live is still live. Raises NotFound; Conflict: another
        version is live; InvalidInput: damaged; WrongState: a trial; SwapFailed: any other error.
        """
        await asyncio.to_thread(self._store.require_servable, name)
        return await self._changes.finish(name, self._promote_everywhere(name, expected_live))

    async def _promote_everywhere(self, name: str, expected_live: str) -> tuple[Pointers, Plan]:
        """Raises SwapFailed: a follower can't load it, so all have gone back."""
        async with self._deciding:
            before = self.pointers
            awaited = await self._followers.serving() if self._followers else set()
            done = await self._promote(name, expected_live)
            if self._followers is None or not awaited:
                return done
            trouble = await self._followers.trouble(name, awaited)
            if not trouble:
                return done
            _log.error("going back to %s: %s", before.live, trouble)
            swapped = awaited & await self._followers.serving(name)  # the others are late already
            async with self._changing:
                await self._make_live(before)
            await self._followers.trouble(before.live, swapped)
            raise SwapFailed(trouble)

    async def _promote(self, name: str, expected_live: str) -> tuple[Pointers, Plan]:
        async with self._changing:
            live = self.pointers.live
            done = (live, self.pointers.previous)  # as a request whose reply was lost left it
            if expected_live not in ("", live) and (name, expected_live) != done:
                raise Conflict(
                    f"version {live} is live, not {expected_live} as expected: "
                    "list the versions before you promote",
                    reason="LIVE_CHANGED",
                )
            if name == live:
                return self.pointers, await self.planner.make_room(name, self.pointers)
            candidate = "" if self.pointers.candidate == name else self.pointers.candidate
            plan = await self._make_live(Pointers(live=name, candidate=candidate, previous=live))
            return self.pointers, plan

    async def _make_live(self, pointers: Pointers) -> Plan:
        """Load the live version of `pointers` if necessary, and move there. For one at a time."""
        live, name = self.pointers.live, pointers.live
        with swap(live, name) as record:
            is_loaded = self._slots.is_available(name)
            plan = record.plan = await self.planner.make_room(name, self.pointers)
            if not is_loaded and plan.way is SwapWay.IN_PLACE and live not in ("", name):
                await self._slots.replace(live, name, lambda: self._live.move(pointers))
                return plan
            if not is_loaded:
                await self._bring_in(name, plan)
            if not self._slots.is_available(name):
                raise Unavailable(f"the engine of version {name} has died before it went live")
            await self._live.move(pointers)
            return plan

    async def follow(self, pointers: Pointers) -> None:
        """Do in memory as the owner of the store has decided. Raises as `promote` does."""
        await self._changes.finish(pointers.live, self._follow(pointers))

    async def _follow(self, pointers: Pointers) -> None:
        async with self._changing:
            if pointers.live == self.pointers.live and self._slots.is_available(pointers.live):
                await self._live.move(pointers)
            else:
                await self._make_live(pointers)

    async def follow_candidate(self, name: str) -> None:
        """Load the candidate, too, if a second model fits. Raises as `promote` does."""
        await self._changes.finish(name, self._follow_candidate(name))

    async def _follow_candidate(self, name: str) -> None:
        async with self._changing:
            if self._slots.is_available(name):
                return
            plan = await self.planner.make_room(name, self.pointers)
            if plan.way is not SwapWay.IN_PLACE:
                await self._bring_in(name, plan)

    async def rollback(self) -> tuple[Pointers, Plan]:
        """Make the previous version live again. A second rollback undoes the first."""
        previous = self.pointers.previous
        if not previous:
            raise WrongState(
                "there is no previous version to go back to: promote one by its name",
                reason="NO_PREVIOUS_VERSION",
            )
        return await self.promote(previous)

    async def close(self) -> None:
        """Cancel a change under way; unload all versions within a minute, even if one hangs."""
        self._slots.end_soon()
        self._changes.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S), self._changing:
                pass
        await self._slots.take_out_all()

    def _who_serves(self) -> str:
        live = self.pointers.live
        is_reloading = "" if self._slots.is_available(live) else ", but is being loaded again"
        return f"version {live} is still live{is_reloading}"

    async def _bring_in(self, name: str, plan: Plan) -> None:
        base = self._store.manifest(name).adapter_of if plan.way is SwapWay.ADAPTER else ""
        await self._slots.bring_in(name, base=base)
