"""Hot swap without gRPC or weights: a store of four versions, and engines that answer with their version's name."""

import asyncio

from services.core.contract import Contract
from services.core.errors import InvalidInput, Unavailable
from services.engines.model import Reply
from services.engines.room import Room
from services.student.canaries import Checked
from services.student.pointers import Pointers
from services.student.store import ADAPTER, Origin, VersionStore
from services.student.versions import Versions
from tests.serving import fake_checkpoint

PLENTY, LITTLE = Room(1, 100, "CPU"), Room(100, 1, "CPU")


class Engine:
    """Answers with its version's name; can be reloaded, adapted and killed; says when it is closed."""

    def __init__(self, name):
        self.name = name
        self.closed = False
        self.dead = asyncio.Event()

    @property
    def fingerprint(self):
        return self.name

    async def generate(self, prompt):
        before = self.name
        await asyncio.sleep(0.01)
        assert not self.closed
        assert before == self.name, "weights were replaced under a request"
        if self.dead.is_set():
            raise Unavailable("dead")
        return Reply(self.name, 1, 1)

    async def death(self):
        await self.dead.wait()
        return "killed"

    async def reload(self, folder):
        await asyncio.sleep(0.01)
        self.name = folder.name

    async def with_adapter(self, folder):
        return Adapter(self, folder.parent.name)

    async def close(self):
        self.closed = True


class Adapter(Engine):
    reload = None

    def __init__(self, base, name):
        super().__init__(name)
        self.base = base

    async def death(self):
        return await self.base.death()


class Loader:
    """Loads Engines; `room`: the memory that it finds; `broken` do not load, `stale` do not reload.

    `troubles`: by step and version, the errors that the step ends with, one after the other; `holds`: events that it waits for.
    """

    def __init__(self, store):
        self.store = store
        self.room_found = PLENTY
        self.serves_adapters = True
        self.broken, self.stale = set(), set()
        self.engines = []
        self.troubles, self.holds, self.began = {}, {}, []

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

    def takes_adapter(self, name):
        return self.serves_adapters

    async def inspect(self, name):
        await self._step("inspect", name)
        if name in self.broken:
            raise InvalidInput(f"{name} is damaged")

    async def load(self, name):
        await self.inspect(name)
        await asyncio.sleep(0.01)
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
    """`troubles`: the errors that moving the pointers ends with, one after the other; `is_written`: once they are on disk."""

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
