"""Versions in memory: slots with states and leases, and the gate of a swap in place.

A lease lets a request end on the version that it began with.

    LOADING -> AVAILABLE -> DRAINING -> (gone)
       |            `-----> FAILED     its engine died
       `------------------> FAILED

Invariants: a slot is unloaded, or its weights replaced, only at zero leases. Nothing is awaited
between the look-up of a version and its lease, so no request falls between two versions. Requests
that come while the gate is closed wait. When a change ends, even by an error, the gate is open
again, and a slot that was available is available again or has been reported dead.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

from services.core.errors import Conflict, Unavailable, WrongState, described
from services.engines.model import Adaptable
from services.student.gate import SwapGate
from services.student.slot import Lease, Loader, Slot, SlotState

_log = logging.getLogger(__name__)
DRAIN_S = 600.0
"""Longest wait for the requests of a version before it is unloaded.

They end much earlier unless the model hangs.
"""
END_S = 5.0
"""The same for a dead engine, whose requests have failed, and for a service that is stopping."""


class Slots:
    """Loaded versions: at most `max_engines` engines, and `max_adapters` adapters on them."""

    def __init__(self, loader: Loader, max_engines: int, max_adapters: int) -> None:
        self._loader = loader
        self._max_engines = max_engines
        self._max_adapters = max_adapters
        self._slots: dict[str, Slot] = {}
        self.gate = SwapGate()
        self._is_closing = False
        self.deaths: asyncio.Queue[tuple[set[str], str]] = asyncio.Queue()
        """Engines that died by themselves: the names of their versions, and the reason."""

    def get(self, name: str) -> Slot | None:
        return self._slots.get(name)

    def is_available(self, name: str) -> bool:
        slot = self._slots.get(name)
        return slot is not None and slot.is_available

    def names(self) -> list[str]:
        """Versions with a model, loaded or ending."""
        return [slot.name for slot in self._slots.values() if slot.model is not None]

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[Lease]:
        """Hold a version for one request that has entered the gate.

        Raises WrongState: it is not loaded; Unavailable: its engine died.
        """
        slot = self._slots.get(name)
        if slot is None or not slot.is_available:
            if slot is not None and slot.state is SlotState.FAILED and slot.model is not None:
                raise Unavailable(
                    f"version {name} has failed ({slot.error}): it is being loaded again, ask again"
                )
            why = f" ({slot.error})" if slot is not None and slot.error else ""
            raise WrongState(
                f"version {name} is not loaded{why}: "
                "load or promote it first, or leave the version out",
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

    def engines(self) -> set[str]:
        """Versions that are loaded with an engine of their own."""
        return {slot.name for slot in self._slots.values() if slot.model and not slot.base}

    def adaptable(self, name: str) -> Adaptable | None:
        """Engine of a loaded version, if it can serve adapters."""
        slot = self._slots.get(name)
        model = slot.model if slot is not None and slot.is_available else None
        return model if isinstance(model, Adaptable) else None

    async def bring_in(self, name: str, *, base: str = "") -> None:
        """Load a version next to the others: as an adapter of `base`, or with its own engine."""
        await self.take_out(name)  # remains of an earlier failure
        contract = await asyncio.to_thread(self._loader.contract, name)
        slot = self._slots[name] = Slot(name, contract, base)
        try:
            engine = self.adaptable(base) if base else None
            loading = self._loader.adapt(engine, name) if engine else self._loader.load(name)
            slot.model, slot.canaries = await loading
        except BaseException as error:
            slot.state = SlotState.FAILED
            slot.error = described(error)
            _free_memory_of(error)
            raise
        self._open(slot)

    async def replace(self, old: str, new: str, commit: Callable[[], Awaitable[None]]) -> None:
        """Close the gate, drain, replace the weights of `old`, verify, `commit`, open the gate.

        If the weights can't be replaced, or the answers are wrong afterwards, the engine is ended
        and another started. If that fails too, `old` is loaded again or has been reported dead.
        """
        await self._loader.inspect(new)
        self.gate.close()
        try:
            if not await self._reload(old, new):
                await self._renew(old, new)
            try:
                await commit()
            except BaseException:
                await self.take_out(new)
                await self._bring_back(old)
                raise
        finally:
            self.gate.open()

    async def _reload(self, old: str, new: str) -> bool:
        """Drain the engine of `old`, load `new` into it. False: its weights may be anything now."""
        slot = self._slots.get(old)
        if slot is None or slot.model is None or not slot.is_available:
            return False
        if not await self._drained(slot):
            slot.state = SlotState.AVAILABLE
            raise Conflict(
                f"the requests of version {old} have not ended within {DRAIN_S:g} s: "
                "end them, then repeat"
            )
        try:
            checked = await self._loader.reload(slot.model, new)
            contract = await asyncio.to_thread(self._loader.contract, new)
        except Exception as error:
            text = "version %s can't replace %s in its engine (%r): starting another engine"
            _log.warning(text, new, old, error)
            _free_memory_of(error)
            return False
        except BaseException:
            await self._bring_back(old)
            raise
        if slot.state is not SlotState.DRAINING:  # it has died in the meantime
            return False
        del self._slots[old]
        slot.name = new
        slot.contract = contract
        slot.canaries = checked
        slot.state = SlotState.AVAILABLE
        self._slots[new] = slot
        return True

    async def _renew(self, old: str, new: str) -> None:
        """End the engine of `old`; start one with `new` or, after an error, with `old` again."""
        slot = self._slots.get(old)
        base = slot.base if slot is not None else ""
        await self.take_out(old)
        await self.take_out(base)
        try:
            await self.bring_in(new)
        except BaseException:
            await self._bring_back(old)
            raise

    async def _bring_back(self, name: str) -> None:
        """Load a version again after a failed change. If that fails, it is reported dead."""
        if self._is_closing:
            return
        try:
            await self.bring_in(name)
        except Exception as error:
            _log.exception("version %s can't be loaded again", name)
            reason = f"it can't be loaded again after a failed swap: {error}"
            self.deaths.put_nowait(({name}, reason))

    def _open(self, slot: Slot) -> None:
        slot.idle.set()
        slot.state = SlotState.AVAILABLE
        if not slot.base:
            slot.watch = asyncio.get_running_loop().create_task(self._watch(slot))

    async def _watch(self, slot: Slot) -> None:
        """Mark a version, and those that share its engine, as failed when the engine dies."""
        assert slot.model is not None
        try:
            reason = await slot.model.death()
        except Exception as error:
            _log.exception("the engine of %s can no longer be watched", slot.name)
            reason = f"it can no longer be watched: {error!r}"
        dead = [each for each in self._slots.values() if each is slot or each.base == slot.name]
        for each in dead:
            each.state = SlotState.FAILED
            each.error = reason
        self.deaths.put_nowait(({each.name for each in dead}, reason))

    async def make_room(
        self, keep: Collection[str], last: Collection[str], *, all_unneeded: bool = False
    ) -> None:
        """Unload versions until one more engine and one more adapter may be loaded.

        The oldest without leases are first. Versions in `keep` stay; those in `last` are unloaded
        after the others. `all_unneeded`: unload everything but `keep`.
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
                await self.take_out(
                    min(unneeded, key=lambda slot: (slot.leases > 0, slot.name in last)).name
                )

    async def take_out(self, name: str) -> None:
        """Unload a version, within DRAIN_S and the time to close its engine, even if it hangs."""
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
                _log.exception("the engine of version %s was not closed cleanly", name)
        self._slots.pop(name, None)

    async def _drained(self, slot: Slot) -> bool:
        """Refuse new requests of a version and wait for the others. False: they did not end."""
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
        """From now on wait only END_S for requests; load nothing again after a failed change."""
        self._is_closing = True

    async def take_out_all(self) -> None:
        """Unload all versions for good, adapters before their bases."""
        self.end_soon()
        for is_adapter in (True, False):
            names = [slot.name for slot in self._slots.values() if bool(slot.base) is is_adapter]
            await asyncio.gather(*(self.take_out(name) for name in names))

    async def take_out_dead(self) -> None:
        """Free the resources of dead engines."""
        for slot in sorted(self._slots.values(), key=lambda slot: not slot.base):
            if slot.state is SlotState.FAILED:
                await self.take_out(slot.name)


def _free_memory_of(error: BaseException | None) -> None:
    """Clear the frames of a failed load: they would hold its tensors as long as the error lives."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    gc.collect()
