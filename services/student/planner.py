"""Choice of the way of a swap, by the memory that is free, and the room for it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace
from typing import Protocol

from services.engines.room import Room
from services.student.plan import Plan, SwapWay
from services.student.pointers import Pointers
from services.student.slot import Loader
from services.student.slots import Slots
from services.student.store import VersionStore


class VersionLoader(Loader, Protocol):
    """Loader that also measures the free memory."""

    def takes_adapter(self, name: str) -> bool:
        """Whether engines are started to serve adapters of this version's rank."""

    def takes_rank(self, rank: int) -> bool:
        """Whether engines are started to serve adapters of this rank."""

    def room(self, name: str) -> Room:
        """Room for one more engine with this version."""


class SwapPlanner:
    """Planner of swaps. A `way` of None is chosen by free memory; `max_loaded` counts engines."""

    def __init__(
        self,
        store: VersionStore,
        loader: VersionLoader,
        slots: Slots,
        *,
        max_loaded: int,
        way: SwapWay | None,
    ) -> None:
        self._store = store
        self._loader = loader
        self._slots = slots
        self._max_loaded = max_loaded
        self._way = way

    async def plan(self, name: str) -> Plan:
        """Plan for a version, next to the versions that are loaded now."""
        base = self._store.manifest(name).adapter_of
        if base and self._slots.adaptable(base) and self._loader.takes_adapter(name):
            return Plan(SwapWay.ADAPTER, f"{name} is an adapter of {base}, which is loaded")
        return await self._plan_engine(name)

    async def plan_result(self, base: str, lora_rank: int) -> Plan:
        """Plan for the version that a training of `base` will make.

        Versions that its loading would unload count as unloaded.
        """
        if lora_rank and self._slots.adaptable(base) and self._loader.takes_rank(lora_rank):
            return Plan(SwapWay.ADAPTER, f"it will be an adapter of {base}, which is loaded")
        return await self._plan_engine(base, unneeded=self._slots.engines() - {base})

    async def _plan_engine(self, name: str, unneeded: Collection[str] = ()) -> Plan:
        """Plan for an engine of its own, once those of the `unneeded` versions have ended."""
        if self._way is not None:
            return Plan(self._way, "as set")
        if self._max_loaded == 1:
            return Plan(SwapWay.IN_PLACE, "at most 1 version may be loaded")
        room = await asyncio.to_thread(self._loader.room, name)
        room = replace(room, free=room.free + len(unneeded) * room.needed)
        return Plan(SwapWay.TWO_SLOTS if room.fits else SwapWay.IN_PLACE, str(room))

    async def make_room(self, name: str, pointers: Pointers) -> Plan:
        """Unload versions to fit one more, and plan its swap.

        For a swap in place, everything but the live version is unloaded. A version that is loaded
        already needs no room.
        """
        slot = self._slots.get(name)
        if slot is not None and slot.is_available:
            way = SwapWay.ADAPTER if slot.base else SwapWay.TWO_SLOTS
            return Plan(way, f"{name} is loaded")
        keep = {name, pointers.live, self._store.manifest(name).adapter_of}
        last = {pointers.previous, pointers.candidate}
        if self._max_loaded > 1:
            await self._slots.make_room(keep, last)
        plan = await self.plan(name)
        if plan.way is SwapWay.IN_PLACE:
            await self._slots.make_room({pointers.live}, last, all_unneeded=True)
            plan = await self.plan(name)
        return plan
