"""Removal of versions from memory and disk, of none that something needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.core.errors import WrongState
from services.student.slot import SlotState
from services.student.slots import Slots
from services.student.store import VersionStore


class VersionRemoval:
    """Removal of versions, one change at a time: swaps hold the same lock."""

    def __init__(self, store: VersionStore, slots: Slots, changing: asyncio.Lock) -> None:
        self._store = store
        self._slots = slots
        self._changing = changing

    async def remove(self, name: str, why: Callable[[str], str], *, unload: bool = False) -> None:
        """Remove a version from the disk, and from memory if `unload`.

        `why` returns the reason to keep it, or "". Raises NotFound; WrongState: it is kept.
        """
        self._store.path(name)
        self._require_unneeded(name, why(name), unload=unload)
        async with self._changing:
            self._require_unneeded(name, why(name), unload=unload)
            await self._slots.take_out(name)
            await asyncio.to_thread(self._store.remove, name)

    def _require_unneeded(self, name: str, why: str, *, unload: bool) -> None:
        slot = self._slots.get(name)
        if slot is not None and slot.state is SlotState.LOADING:
            why = "it is being loaded"
        elif slot is not None and slot.model is not None and not unload:
            why = why or "it is loaded; --unload unloads it first"
        if why:
            raise WrongState(f"version {name} can't be deleted: {why}", reason="VERSION_NEEDED")
