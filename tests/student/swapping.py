"""Hot swap without gRPC or weights: a store of four versions, engines that answer by name."""

import asyncio
from typing import Any

from services.core.contract import Contract
from services.core.errors import InvalidInput, Unavailable
from services.engines.model import Reply
from services.engines.room import Room
from services.student.canary_check import Checked
from services.student.manifest import ADAPTER, Origin
from services.student.pointers import Pointers
from services.student.store import VersionStore
from services.student.versions import Versions
from tests.serving import fake_checkpoint

PLENTY = Room(1, 100, "CPU")
LITTLE = Room(100, 1, "CPU")
STEP_S = 0.01
"""Seconds of each step of an engine."""


class Engine:
    """Engine that answers with its version's name. It can be reloaded, adapted and killed."""

    def __init__(self, name):
        self.name = name
        self.closed = False
        self.dead = asyncio.Event()

    @property
    def fingerprint(self):
        return self.name

    async def generate(self, prompt):
        before = self.name
        await asyncio.sleep(STEP_S)
        assert not self.closed
        assert before == self.name, "weights were replaced under a request"
        if self.dead.is_set():
            raise Unavailable("dead")
        return Reply(self.name, 1, 1)

    async def death(self):
        await self.dead.wait()
        return "killed"

    async def reload(self, folder):
        await asyncio.sleep(STEP_S)
        self.name = folder.name

    async def with_adapter(self, folder):
        return Adapter(self, folder.parent.name)

    async def close(self):
        self.closed = True


class Adapter(Engine):
    reload: Any = None

    def __init__(self, base, name):
        super().__init__(name)
        self.base = base

    async def death(self):
        return await self.base.death()


class Loader:
    """Loader of Engines. `broken` versions do not load, `stale` ones do not reload.

    `room_found` is the free memory. For each step and version, `troubles` has the errors that it
    raises, one after the other, and `holds` an event that it waits for.
    """

    def __init__(self, store):
        self.store = store
        self.room_found = PLENTY
        self.serves_adapters = True
        self.broken = set()
        self.stale = set()
        self.engines = []
        self.troubles = {}
        self.holds = {}
        self.began = []

    async def _step(self, step, name):
        self.began.append((step, name))
        if (step, name) in self.holds:
            await self.holds[step, name].wait()
        if self.troubles.get((step, name)):
            raise self.troubles[step, name].pop(0)

    def contract(self, name):
        return self.store.manifest(name).contract

    def room(self, name):
        return self.room_found

    def takes_rank(self, rank):
        return True

    def takes_adapter(self, name):
        return self.serves_adapters

    async def inspect(self, name):
        await self._step("inspect", name)
        if name in self.broken:
            raise InvalidInput(f"{name} is damaged")

    async def load(self, name):
        await self.inspect(name)
        await asyncio.sleep(STEP_S)
        await self._step("load", name)
        self.engines.append(Engine(name))
        return self.engines[-1], Checked(4, 4)

    async def adapt(self, base, name):
        await self._step("adapt", name)
        return await base.with_adapter(self.store.path(name) / ADAPTER), Checked(4, 4)

    async def reload(self, model, name):
        await model.reload(self.store.path(name))
        await self._step("reload", name)
        if name in self.stale:
            raise InvalidInput("canaries", reason="CANARY_FAILED")
        return Checked(4, 4)


class Store(VersionStore):
    """Store that raises `troubles` one by one as pointers move, if `is_written` after the move."""

    troubles = ()
    is_written = False

    def point(self, pointers):
        if self.is_written or not self.troubles:
            super().point(pointers)
        if self.troubles:
            raise self.troubles.pop(0)


class World:
    """A store with versions v1 to v4, v1 live; v4 is an adapter of v1."""

    def __init__(self, folder):
        self.store = Store(folder / "store")
        for number in range(1, 5):
            checkpoint = fake_checkpoint(folder / f"{number}")
            if number == 4:
                fake_checkpoint(checkpoint / ADAPTER)
            self.store.add(checkpoint, Origin(parent="v1" if number > 1 else ""), Contract())
        self.store.point(Pointers(live="v1"))
        self.loader = Loader(self.store)

    async def versions(self, **settings):
        versions = Versions(self.store, self.loader, **{"max_loaded": 2, **settings})
        await versions.start()
        return versions

    def open_engines(self):
        return [engine.name for engine in self.loader.engines if not engine.closed]


async def ask(versions, version=""):
    async with versions.lease(version) as lease:
        return lease.version, (await lease.model.generate(None)).text
