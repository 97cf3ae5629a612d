"""Versions in memory: slots with their states, leases that let requests end where they began, and a gate for swaps in place.

    LOADING -> AVAILABLE -> DRAINING -> (gone)
       |            `-----> FAILED     its engine died
       `------------------> FAILED

Invariants: a slot has its leases counted and is unloaded, or its weights replaced, only at zero; between looking a version up
and leasing it nothing is awaited, so no request falls between two versions; requests that come while the gate is closed wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from services.core.contract import Contract
from services.core.errors import MpaError, Overloaded, Unavailable, WrongState
from services.engines.model import Adaptable, VisionLanguageModel
from services.student.canaries import Checked

_log = logging.getLogger(__name__)
MAX_AT_GATE = 4096


class SlotState(StrEnum):
    """As mpa.v1.VersionState."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    AVAILABLE = "available"
    DRAINING = "draining"
    FAILED = "failed"


class Loader(Protocol):
    """From a version's name to a model that has been seen to answer as its trainer computed. Each raises MpaError if not."""

    def contract(self, name: str) -> Contract: ...

    async def inspect(self, name: str) -> None:
        """Looks at the files only."""

    async def load(self, name: str) -> tuple[VisionLanguageModel, Checked]:
        """A new engine."""

    async def adapt(self, base: Adaptable, name: str) -> tuple[VisionLanguageModel, Checked]:
        """The version's adapter, on a base that is loaded."""

    async def reload(self, model: VisionLanguageModel, name: str) -> Checked:
        """The version's weights into an engine that holds others."""


@dataclass(slots=True)
class Slot:
    """One version in memory. `base`: the version whose engine it shares; "" where it has its own."""

    name: str
    contract: Contract
    base: str = ""
    state: SlotState = SlotState.LOADING
    model: VisionLanguageModel | None = None
    error: str = ""
    leases: int = 0
    canaries: Checked | None = None
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    watch: asyncio.Task[None] | None = None

    @property
    def is_available(self) -> bool:
        return self.state is SlotState.AVAILABLE


@dataclass(frozen=True, slots=True)
class Lease:
    """A hold on a loaded version for the length of one request."""

    version: str
    contract: Contract
    model: VisionLanguageModel


class Slots:
    """At most `max_engines` engines, and `max_adapters` adapters on them."""

    def __init__(self, loader: Loader, max_engines: int, max_adapters: int) -> None:
        self._loader = loader
        self._max_engines = max_engines
        self._max_adapters = max_adapters
        self._slots: dict[str, Slot] = {}
        self._gate = asyncio.Event()
        self._gate.set()
        self._at_gate = 0
        self.deaths: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        """Name and reason of each engine that died by itself."""

    def get(self, name: str) -> Slot | None:
        return self._slots.get(name)

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[Lease]:
        """Raises WrongState (not loaded), Unavailable (its engine died), Overloaded (too many wait at the gate)."""
        await self.pass_gate()
        slot = self._slots.get(name)
        if slot is None or not slot.is_available:
            if slot is not None and slot.state is SlotState.FAILED and slot.model is not None:
                raise Unavailable(f"version {name} has failed ({slot.error}): it is being loaded anew, ask again")
            raise WrongState(
                f"version {name} is not loaded: load or promote it first, or leave the version out", reason="VERSION_NOT_LOADED"
            )
        assert slot.model is not None
        slot.leases += 1
        slot.idle.clear()
        try:
            yield Lease(slot.name, slot.contract, slot.model)
        finally:
            slot.leases -= 1
            if slot.leases == 0:
                slot.idle.set()

    async def pass_gate(self) -> None:
        """Returns at once unless weights are being replaced."""
        while not self._gate.is_set():
            if self._at_gate >= MAX_AT_GATE:
                raise Overloaded(f"{self._at_gate} requests wait for a version to be swapped in already", retry_after_s=1.0)
            self._at_gate += 1
            try:
                await self._gate.wait()
            finally:
                self._at_gate -= 1

    def adaptable(self, name: str) -> Adaptable | None:
        """The engine of a loaded version, if it can serve adapters."""
        slot = self._slots.get(name)
        return slot.model if slot and slot.is_available and isinstance(slot.model, Adaptable) else None

    async def bring_in(self, name: str, *, base: str = "") -> None:
        """Loads a version beside the others: as an adapter where its `base` is named, else with an engine of its own."""
        slot = self._slots[name] = Slot(name, self._loader.contract(name), base)
        try:
            engine = self.adaptable(base) if base else None
            loading = self._loader.adapt(engine, name) if engine else self._loader.load(name)
            slot.model, slot.canaries = await loading
        except BaseException as error:
            slot.state, slot.error = SlotState.FAILED, str(error)
            raise
        self._open(slot)

    async def replace(self, old: str, new: str, commit: Callable[[], Awaitable[None]]) -> None:
        """Gate, drain, other weights into the place of the old, verify, `commit`, reopen.

        An engine whose weights can't be replaced, or that answers wrongly after it, is ended and started anew. Raises MpaError
        where that fails, too; `old` is back then.
        """
        await self._loader.inspect(new)
        slot = self._slots[old]
        self._gate.clear()
        try:
            slot.state = SlotState.DRAINING
            await slot.idle.wait()
            try:
                await self._reload(slot, new)
            except MpaError as error:
                _log.warning("version %s can't be read into the place of %s (%s): starting another engine", new, old, error)
                await self._renew(old, new)
            try:
                await commit()
            except MpaError:
                await self._renew(new, old)
                raise
        finally:
            self._gate.set()

    async def _reload(self, slot: Slot, new: str) -> None:
        assert slot.model is not None
        checked = await self._loader.reload(slot.model, new)
        del self._slots[slot.name]
        slot.name, slot.contract, slot.canaries, slot.state = new, self._loader.contract(new), checked, SlotState.AVAILABLE
        self._slots[new] = slot

    async def _renew(self, old: str, new: str) -> None:
        """Ends the engine of `old` and starts one with `new`; with `old` again, and raises MpaError, where that fails."""
        base = self._slots[old].base
        for name in filter(None, (old, base)):
            await self._take_out(name)
        try:
            await self.bring_in(new)
        except MpaError:
            await self.bring_in(old)
            raise

    def _open(self, slot: Slot) -> None:
        slot.idle.set()
        slot.state = SlotState.AVAILABLE
        if not slot.base:
            slot.watch = asyncio.get_running_loop().create_task(self._watch(slot))

    async def _watch(self, slot: Slot) -> None:
        assert slot.model is not None
        reason = await slot.model.death()
        self.deaths.put_nowait((slot.name, reason))

    def bury(self, name: str, reason: str) -> set[str]:
        """Marks a version whose engine died, and those that shared it, as failed. Returns their names."""
        dead = {slot.name for slot in self._slots.values() if name in (slot.name, slot.base)}
        for each in dead:
            self._slots[each].state, self._slots[each].error = SlotState.FAILED, reason
        return dead

    async def make_room(self, keep: Collection[str], last: Collection[str], *, all_unneeded: bool = False) -> None:
        """Unloads versions, the oldest without leases first, until one more engine and one more adapter may be loaded.

        Never those in `keep`; those in `last` only after the others. `all_unneeded`: whatever is not kept.
        """
        for is_adapter, most in ((True, self._max_adapters), (False, self._max_engines)):
            while True:
                loaded = [slot for slot in self._slots.values() if slot.model is not None and bool(slot.base) is is_adapter]
                bases = {slot.base for slot in self._slots.values()}
                unneeded = [slot for slot in loaded if slot.name not in keep and slot.name not in bases]
                if not unneeded or not (all_unneeded or len(loaded) >= most):
                    break
                await self._take_out(min(unneeded, key=lambda slot: (slot.leases > 0, slot.name in last)).name)

    async def _take_out(self, name: str) -> None:
        slot = self._slots[name]
        if slot.model is not None:
            if slot.state is SlotState.AVAILABLE:
                slot.state = SlotState.DRAINING
            await slot.idle.wait()
            if slot.watch is not None:
                slot.watch.cancel()
            await slot.model.close()
        del self._slots[name]

    async def take_out_all(self) -> None:
        """Adapters before their bases."""
        for slot in sorted(self._slots.values(), key=lambda slot: not slot.base):
            with suppress(KeyError):
                await self._take_out(slot.name)

    async def take_out_dead(self) -> None:
        """Frees what is left of engines that died."""
        for slot in sorted(self._slots.values(), key=lambda slot: not slot.base):
            if slot.state is SlotState.FAILED:
                await self._take_out(slot.name)
