"""Hot swap: which version is live, and how another takes its place while requests go on.

    two slots    old and new side by side, the pointer flips, requests under way end where they began
    in place     one model fits: requests wait at the gate while the weights are replaced
    adapter      the new version is an adapter on an engine that is loaded: chosen per request

A version goes live only after its canaries have been answered as its trainer computed (canaries.py). A swap that fails, in
any way, leaves the live version live.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from services.core.errors import (
    Conflict,
    InvalidInput,
    MpaError,
    NotFound,
    SwapFailed,
    Unavailable,
    WrongState,
)
from services.engines.room import Room
from services.student.intact import CORRUPT
from services.student.plan import Plan, SwapWay
from services.student.pointers import Pointers
from services.student.slot import Lease, Loader, Slot
from services.student.slots import END_S, Slots
from services.student.store import VersionStore

T = TypeVar("T")

_log = logging.getLogger(__name__)
_LOST = frozenset({CORRUPT, "VERSION_NOT_FOUND", NotFound.reason})


class VersionLoader(Loader, Protocol):
    """A Loader that knows how much room there is, and for what."""

    def takes_adapter(self, name: str) -> bool:
        """Whether engines are started to serve adapters of this version's rank."""

    def room(self, name: str) -> Room:
        """For one more engine that holds this version."""


class Versions:
    """The versions of one student. `way` "" is chosen by the memory that is found; `max_loaded` counts engines."""

    def __init__(
        self,
        store: VersionStore,
        loader: VersionLoader,
        *,
        max_loaded: int,
        max_adapters: int = 4,
        way: SwapWay | None = None,
    ) -> None:
        self._store = store
        self._loader = loader
        self._max_loaded = max_loaded
        self._way = way
        self._slots = Slots(loader, max_loaded, max_adapters)
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[Any]] = set()
        self._pointers = Pointers()

    @property
    def pointers(self) -> Pointers:
        return self._pointers

    def slot(self, name: str) -> Slot | None:
        """None where the version is on disk only."""
        return self._slots.get(name)

    async def pass_gate(self) -> None:
        """Returns at once unless weights are being replaced. Raises Overloaded: too many wait for that already."""
        await self._slots.pass_gate()

    @asynccontextmanager
    async def lease(self, version: str = "") -> AsyncIterator[Lease]:
        """Holds `version`, or the live one. Raises NotFound, WrongState (pinned but not loaded), Unavailable (nothing live)."""
        await self.pass_gate()
        name = version or self._pointers.live
        if not name:
            raise Unavailable("no version is live yet")
        slot = self._slots.get(name)
        if slot is None:
            self._store.path(name)
        elif name == self._pointers.live and not slot.is_available:
            why = slot.error or "its engine had died"
            raise Unavailable(
                f"version {name} has failed ({why}): it is being loaded again, ask again"
            )
        async with self._slots.lease(name) as lease:
            yield lease

    async def start(self) -> None:
        """Loads the live version. Where that is damaged: the previous one, or else the newest that is whole.

        Raises the error of the live one where none loads.
        """
        pointers = self._store.pointers()
        async with self._changing:
            try:
                await self._begin_with(pointers.live)
                self._pointers = pointers
            except Exception as error:
                await self._begin_instead(pointers, error)
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

    async def _begin_instead(self, pointers: Pointers, error: Exception) -> None:
        """A version that was never live is taken only where the disk has lost those that were."""
        others = [pointers.previous] if pointers.previous else []
        if isinstance(error, MpaError) and error.reason in _LOST:
            others += [
                name
                for name in self._store.intact()
                if name not in (pointers.live, pointers.previous)
            ]
        for name in others:
            _log.error(
                "live version %s does not load (%r): going back to %s", pointers.live, error, name
            )
            try:
                await self._begin_with(name)
            except Exception as another:
                _log.error("version %s does not load either: %r", name, another)
                continue
            await self._move(Pointers(live=name))
            return
        raise error

    async def death(self) -> str:
        """Returns, with the reason, when the engine of the live version has died; others are only marked as failed."""
        while True:
            dead, reason = await self._slots.deaths.get()
            _log.error("the engine of %s has died: %s", ", ".join(sorted(dead)), reason)
            if self._is_live_dead(dead):
                return reason
            async with self._changing:
                if self._is_live_dead(dead):  # it went live while it died
                    return reason
                await self._slots.take_out_dead()

    def _is_live_dead(self, dead: Collection[str]) -> bool:
        return self._pointers.live in dead and not self._is_available(self._pointers.live)

    async def revive(self) -> None:
        """Loads the live version into a new engine, unless a swap has done so meanwhile. Raises the errors of loading."""
        async with self._changing:
            await self._slots.take_out_dead()
            if not self._is_available(self._pointers.live):
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
        """Loads a version as the candidate, next to the live one. Raises like `promote`; WrongState: one model fits."""
        self._store.path(name)
        await self._change(name, self._load(name))

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
        """Makes `name` live. Raises NotFound, Conflict (another is live), InvalidInput (its files), SwapFailed (all else).

        After any of them, the version that was live is so still.
        """
        self._store.path(name)
        return await self._change(name, self._promote(name, expected_live))

    async def _promote(self, name: str, expected_live: str) -> tuple[Pointers, Plan]:
        async with self._changing:
            live = self._pointers.live
            if expected_live and live != expected_live:
                raise Conflict(
                    f"version {live} is live, not {expected_live} as expected: look again before you promote",
                    reason="LIVE_CHANGED",
                )
            is_loaded = self._is_available(name)
            plan = (
                Plan(self._way_of(name), f"{name} is loaded")
                if is_loaded
                else await self._make_room(name)
            )
            if name == live:
                return self._pointers, plan
            candidate = "" if self._pointers.candidate == name else self._pointers.candidate
            pointers = Pointers(live=name, candidate=candidate, previous=live)
            if not is_loaded and plan.way is SwapWay.IN_PLACE:
                await self._slots.replace(live, name, lambda: self._move(pointers))
            else:
                if not is_loaded:
                    await self._bring_in(name, plan)
                if not self._is_available(name):
                    raise Unavailable(f"the engine of version {name} has died before it went live")
                await self._move(pointers)
            _log.info(
                "%s is live, %s before; swapped by way of %s: %s", name, live, plan.way, plan.reason
            )
            return self._pointers, plan

    async def rollback(self) -> tuple[Pointers, Plan]:
        """Makes the previous version live again; the one left becomes previous, so that a second rollback undoes the first."""
        previous = self._pointers.previous
        if not previous:
            raise WrongState(
                "there is no previous version to go back to", reason="NO_PREVIOUS_VERSION"
            )
        return await self.promote(previous)

    async def close(self) -> None:
        """Breaks off a change that is under way; ends within a minute, even if the engine hangs."""
        self._slots.end_soon()
        for change in tuple(self._changes):
            change.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S), self._changing:
                pass
        await self._slots.take_out_all()

    async def _change(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        """Carries `work` out to its end: a caller who hangs up must not leave a version half brought in."""
        change = asyncio.create_task(work)
        self._changes.add(change)
        change.add_done_callback(self._changes.discard)
        try:
            return await asyncio.shield(change)
        except (NotFound, Conflict, WrongState):
            raise
        except InvalidInput as error:
            raise InvalidInput(
                f"{error}; {self._who_serves()}", field=error.field, reason=error.reason
            ) from error
        except asyncio.CancelledError:
            if not change.cancelled():
                raise  # the caller has hung up
            raise SwapFailed(
                f"version {name} was not brought in, for it was called off; {self._who_serves()}"
            ) from None
        except Exception as error:
            said = str(error) if isinstance(error, MpaError) else f"{type(error).__name__}: {error}"
            _log.error("version %s was not brought in", name, exc_info=error)
            raise SwapFailed(
                f"version {name} was not brought in ({said}); {self._who_serves()}"
            ) from error

    def _who_serves(self) -> str:
        live = self._pointers.live
        is_there = self._is_available(live)
        return (
            f"version {live} is still live"
            if is_there
            else f"version {live} is still live, but is being loaded again"
        )

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
        moving = asyncio.ensure_future(asyncio.to_thread(self._store.point, pointers))
        try:
            await asyncio.shield(moving)
        except BaseException:
            await asyncio.wait({moving})
            await asyncio.to_thread(self._point_back)
            raise
        self._pointers = pointers

    def _point_back(self) -> None:
        """A write that failed may have reached the disk all the same."""
        try:
            if self._store.pointers() != self._pointers:
                self._store.point(self._pointers)
        except Exception:
            _log.exception(
                "the pointers on disk may not say that %s is live: look at them",
                self._pointers.live,
            )
