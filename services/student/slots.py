"""Versions in memory: slots with their states, leases that let requests end where they began, and a gate for swaps in place.

    LOADING -> AVAILABLE -> DRAINING -> (gone)
       |            `-----> FAILED     its engine died
       `------------------> FAILED

Invariants: a slot has its leases counted and is unloaded, or its weights replaced, only at zero; between looking a version up
and leasing it nothing is awaited, so no request falls between two versions; requests that come while the gate is closed wait.
When a change ends, with any error, the gate is open again, and a slot that was available is so again or has been reported dead.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

from services.core.errors import Conflict, Overloaded, Unavailable, WrongState
from services.engines.model import Adaptable
from services.student.slot import Lease, Loader, Slot, SlotState

_log = logging.getLogger(__name__)
MAX_AT_GATE = 4096
DRAIN_S = 600.0
"""How long the requests of a version that is to go may take; without a model that hangs they end long before."""
END_S = 5.0
"""The same for a dead engine, whose requests have been failed, and for a service that ends, which has waited already."""


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
        self._is_closing = False
        self.deaths: asyncio.Queue[tuple[set[str], str]] = asyncio.Queue()
        """Each engine that died by itself: the names of its versions, and the reason."""

    def get(self, name: str) -> Slot | None:
        return self._slots.get(name)

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[Lease]:
        """Raises WrongState (not loaded), Unavailable (its engine died), Overloaded (too many wait at the gate)."""
        await self.pass_gate()
        slot = self._slots.get(name)
        if slot is None or not slot.is_available:
            if slot is not None and slot.state is SlotState.FAILED and slot.model is not None:
                raise Unavailable(
                    f"version {name} has failed ({slot.error}): it is being loaded again, ask again"
                )
            why = f" ({slot.error})" if slot is not None and slot.error else ""
            raise WrongState(
                f"version {name} is not loaded{why}: load or promote it first, or leave the version out",
                reason="VERSION_NOT_LOADED",
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
                raise Overloaded(
                    f"{self._at_gate} requests wait for a version to be swapped in already",
                    retry_after_s=1.0,
                )
            self._at_gate += 1
            try:
                await self._gate.wait()
            finally:
                self._at_gate -= 1

    def adaptable(self, name: str) -> Adaptable | None:
        """The engine of a loaded version, if it can serve adapters."""
        slot = self._slots.get(name)
        return (
            slot.model if slot and slot.is_available and isinstance(slot.model, Adaptable) else None
        )

    async def bring_in(self, name: str, *, base: str = "") -> None:
        """Loads a version beside the others: as an adapter where its `base` is named, else with an engine of its own."""
        await self._take_out(name)  # remains of an earlier failure
        slot = self._slots[name] = Slot(name, self._loader.contract(name), base)
        try:
            engine = self.adaptable(base) if base else None
            loading = self._loader.adapt(engine, name) if engine else self._loader.load(name)
            slot.model, slot.canaries = await loading
        except BaseException as error:
            slot.state, slot.error = SlotState.FAILED, str(error) or repr(error)
            _free_memory_of(error)
            raise
        self._open(slot)

    async def replace(self, old: str, new: str, commit: Callable[[], Awaitable[None]]) -> None:
        """Gate, drain, other weights into the place of the old, verify, `commit`, reopen.

        An engine whose weights can't be replaced, or that answers wrongly after it, is ended and another started. Where that
        fails, too, by whatever error, `old` is back then, or it has been reported dead.
        """
        await self._loader.inspect(new)
        self._gate.clear()
        try:
            if not await self._reload(old, new):
                await self._renew(old, new)
            try:
                await commit()
            except BaseException:
                await self._take_out(new)
                await self._bring_back(old)
                raise
        finally:
            self._gate.set()

    async def _reload(self, old: str, new: str) -> bool:
        """Whether the engine of `old` could be drained and holds `new` now; if not, its weights may be anything."""
        slot = self._slots.get(old)
        if slot is None or slot.model is None or not slot.is_available:
            return False
        if not await self._drained(slot):
            slot.state = SlotState.AVAILABLE
            raise Conflict(
                f"the requests of version {old} have not ended within {DRAIN_S:g} s: look at them, then repeat"
            )
        try:
            checked = await self._loader.reload(slot.model, new)
            contract = self._loader.contract(new)
        except Exception as error:
            _log.warning(
                "version %s can't be read into the place of %s (%r): starting another engine",
                new,
                old,
                error,
            )
            _free_memory_of(error)
            return False
        except BaseException:
            await self._bring_back(old)
            raise
        if slot.state is not SlotState.DRAINING:  # it has died meanwhile
            return False
        del self._slots[old]
        slot.name, slot.contract, slot.canaries, slot.state = (
            new,
            contract,
            checked,
            SlotState.AVAILABLE,
        )
        self._slots[new] = slot
        return True

    async def _renew(self, old: str, new: str) -> None:
        """Ends the engine of `old` and starts one with `new`; with `old` again, and raises the error, where that fails."""
        slot = self._slots.get(old)
        base = slot.base if slot is not None else ""
        await self._take_out(old)
        await self._take_out(base)
        try:
            await self.bring_in(new)
        except BaseException:
            await self._bring_back(old)
            raise

    async def _bring_back(self, name: str) -> None:
        """A version that was available before a change that failed. Never raises: one that can't return is dead."""
        if self._is_closing:
            return
        try:
            await self.bring_in(name)
        except Exception as error:
            _log.exception("version %s does not come back", name)
            self.deaths.put_nowait(
                ({name}, f"it does not come back after a swap that failed: {error}")
            )

    def _open(self, slot: Slot) -> None:
        slot.idle.set()
        slot.state = SlotState.AVAILABLE
        if not slot.base:
            slot.watch = asyncio.get_running_loop().create_task(self._watch(slot))

    async def _watch(self, slot: Slot) -> None:
        """Marks a version whose engine has died, and those that share it, as failed."""
        assert slot.model is not None
        try:
            reason = await slot.model.death()
        except Exception as error:
            _log.exception("the engine of %s can't be watched any more", slot.name)
            reason = f"it can't be watched any more: {error!r}"
        dead = {
            each.name for each in self._slots.values() if each is slot or each.base == slot.name
        }
        for name in dead:
            self._slots[name].state, self._slots[name].error = SlotState.FAILED, reason
        self.deaths.put_nowait((dead, reason))

    async def make_room(
        self, keep: Collection[str], last: Collection[str], *, all_unneeded: bool = False
    ) -> None:
        """Unloads versions, the oldest without leases first, until one more engine and one more adapter may be loaded.

        Never those in `keep`; those in `last` only after the others. `all_unneeded`: whatever is not kept.
        """
        for is_adapter, most in ((True, self._max_adapters), (False, self._max_engines)):
            while True:
                loaded = [
                    slot
                    for slot in self._slots.values()
                    if slot.model is not None and bool(slot.base) is is_adapter
                ]
                bases = {slot.base for slot in self._slots.values()}
                unneeded = [
                    slot for slot in loaded if slot.name not in keep and slot.name not in bases
                ]
                if not unneeded or not (all_unneeded or len(loaded) >= most):
                    break
                await self._take_out(
                    min(unneeded, key=lambda slot: (slot.leases > 0, slot.name in last)).name
                )

    async def _take_out(self, name: str) -> None:
        """Ends within DRAIN_S and the time that the engine takes to close, even if it hangs."""
        slot = self._slots.get(name)
        if slot is None:
            return
        if slot.model is not None:
            if not await self._drained(slot):
                _log.warning("version %s is unloaded with %d requests under way", name, slot.leases)
            if slot.watch is not None:
                slot.watch.cancel()
            try:
                await slot.model.close()
            except Exception:
                _log.exception("the engine of version %s did not end as it should", name)
            finally:
                gc.unfreeze()  # its cycles, too, are to be found (services/rpc/lifecycle.py)
        self._slots.pop(name, None)

    async def _drained(self, slot: Slot) -> bool:
        """Whether the requests of a version have ended within the time that they have; new ones are not taken."""
        seconds = END_S if self._is_closing or slot.state is SlotState.FAILED else DRAIN_S
        if slot.is_available:
            slot.state = SlotState.DRAINING
        try:
            async with asyncio.timeout(seconds):
                while slot.leases:
                    await slot.idle.wait()
        except TimeoutError:
            return False
        except BaseException:
            if slot.state is SlotState.DRAINING:
                slot.state = SlotState.AVAILABLE
            raise
        return True

    def end_soon(self) -> None:
        """Begins the end: requests are hardly waited for, and a change that fails brings nothing back."""
        self._is_closing = True

    async def take_out_all(self) -> None:
        """Ends all versions for good, adapters before their bases."""
        self.end_soon()
        for is_adapter in (True, False):
            names = [slot.name for slot in self._slots.values() if bool(slot.base) is is_adapter]
            await asyncio.gather(*(self._take_out(name) for name in names))

    async def take_out_dead(self) -> None:
        """Frees what is left of engines that died."""
        for slot in sorted(self._slots.values(), key=lambda slot: not slot.base):
            if slot.state is SlotState.FAILED:
                await self._take_out(slot.name)


def _free_memory_of(error: BaseException | None) -> None:
    """Frames of a load that failed would hold its tensors for as long as anybody, a log say, holds the error."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    gc.collect()
