"""Hot swap without gRPC or weights: three ways, leases, the gate, canaries that fail, engines that die."""

import asyncio

import pytest

from services.core.errors import Conflict, InvalidInput, NotFound, Unavailable, WrongState
from services.engines.model import Reply
from services.engines.room import Room
from services.student.canaries import Checked
from services.student.slots import SlotState
from services.student.store import ADAPTER, Contract, Origin, Pointers, VersionStore
from services.student.versions import SwapWay, Versions
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
    """Loads Engines; `room` is what it finds; `broken` do not load, `stale` do not reload."""

    def __init__(self, store):
        self.store = store
        self.room_found = PLENTY
        self.serves_adapters = True
        self.broken, self.stale = set(), set()
        self.engines = []

    def contract(self, name):
        return self.store.manifest(name).contract

    def room(self, name):
        return self.room_found

    def takes_adapter(self, name):
        return self.serves_adapters

    async def inspect(self, name):
        if name in self.broken:
            raise InvalidInput(f"{name} is damaged")

    async def load(self, name):
        await self.inspect(name)
        await asyncio.sleep(0.01)
        self.engines.append(Engine(name))
        return self.engines[-1], Checked(4, 4)

    async def adapt(self, base, name):
        return await base.with_adapter(self.store.path(name) / ADAPTER), Checked(4, 4)

    async def reload(self, model, name):
        await model.reload(self.store.path(name))
        if name in self.stale:
            raise InvalidInput("canaries", reason="CANARY_FAILED")
        return Checked(4, 4)


class World:
    """A store with versions v1 to v4, v1 live; v4 is an adapter of v1."""

    def __init__(self, folder):
        self.store = VersionStore(folder / "store")
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


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


async def _ask(versions, version=""):
    async with versions.lease(version) as lease:
        return lease.version, (await lease.model.generate(None)).text


async def test_requests_end_on_the_version_they_began_with(world):
    versions = await world.versions()
    async with versions.lease() as lease:
        await versions.promote("v2")
        assert lease.version == "v1"
        assert (await lease.model.generate(None)).text == "v1"
        promoting = asyncio.create_task(versions.promote("v3"))
        await asyncio.sleep(0.05)
        assert not promoting.done(), "v1 must not be unloaded under a lease"
        assert "v1" in world.open_engines()
    await promoting
    assert world.open_engines() == ["v2", "v3"]
    assert versions.pointers == Pointers(live="v3", previous="v2")


async def test_a_version_that_does_not_load_never_becomes_live(world):
    versions = await world.versions()
    world.loader.broken.add("v2")
    with pytest.raises(InvalidInput, match="damaged"):
        await versions.promote("v2")
    assert versions.pointers.live == world.store.pointers().live == "v1"
    assert versions.slot("v2").state is SlotState.FAILED
    assert await _ask(versions) == ("v1", "v1")


async def test_load_makes_a_candidate_that_can_be_pinned(world):
    versions = await world.versions()
    with pytest.raises(WrongState, match="v2 is not loaded"):
        await _ask(versions, "v2")
    await versions.load("v2")
    assert versions.pointers == Pointers(live="v1", candidate="v2")
    assert await _ask(versions, "v2") == ("v2", "v2")
    with pytest.raises(NotFound, match="v9"):
        await _ask(versions, "v9")


async def test_two_operators_cannot_promote_past_each_other(world):
    versions = await world.versions()
    await versions.promote("v2", expected_live="v1")
    with pytest.raises(Conflict, match="v2 is live, not v1"):
        await versions.promote("v3", expected_live="v1")


async def test_rollback_goes_back_and_forth(world):
    versions = await world.versions()
    with pytest.raises(WrongState, match="no previous"):
        await versions.rollback()
    await versions.promote("v2")
    assert (await versions.rollback())[0] == Pointers(live="v1", previous="v2")
    assert (await versions.rollback())[0] == Pointers(live="v2", previous="v1")


async def test_the_oldest_version_without_leases_goes_first(world):
    versions = await world.versions(max_loaded=3)
    await versions.load("v2")
    async with versions.lease("v2"):
        await versions.load("v3")
        world.store.add(world.store.path("v2"), Origin(parent="v1"), Contract())
        await versions.load("v5")
        assert world.open_engines() == ["v1", "v2", "v5"], "v2 is older than v3, but in use"


async def test_a_damaged_live_version_falls_back_to_the_previous(world):
    world.store.point(Pointers(live="v3", previous="v2"))
    world.loader.broken.add("v3")
    versions = await world.versions()
    assert versions.pointers.live == world.store.pointers().live == "v2"


async def test_the_way_follows_from_the_memory_there_is(world):
    versions = await world.versions()
    assert (await versions.plan("v2")).way is SwapWay.TWO_SLOTS
    assert (await versions.plan("v4")).way is SwapWay.ADAPTER
    world.loader.room_found = LITTLE
    plan = await versions.plan("v2")
    assert plan.way is SwapWay.IN_PLACE
    assert "does not fit" in plan.reason
    with pytest.raises(WrongState, match="can't be loaded beside v1") as refused:
        await versions.load("v2")
    assert refused.value.reason == "ONE_MODEL_FITS"
    assert (await (await world.versions(way=SwapWay.TWO_SLOTS)).plan("v2")).way is SwapWay.TWO_SLOTS
    assert (await (await world.versions(max_loaded=1)).plan("v2")).way is SwapWay.IN_PLACE


async def test_an_adapter_shares_its_bases_engine(world):
    versions = await world.versions()
    assert (await versions.promote("v4"))[1].way is SwapWay.ADAPTER
    assert world.open_engines() == ["v1"]
    assert await _ask(versions) == ("v4", "v4")
    assert await _ask(versions, "v1") == ("v1", "v1"), "chosen per request"
    assert (await versions.rollback())[0].live == "v1"
    assert world.open_engines() == ["v1"]


async def test_an_adapter_that_engines_are_not_started_for_comes_in_as_its_merged_version(world):
    world.loader.serves_adapters = False
    versions = await world.versions()
    assert (await versions.promote("v4"))[1].way is SwapWay.TWO_SLOTS
    assert world.open_engines() == ["v1", "v4"]
    assert await _ask(versions) == ("v4", "v4")


async def test_in_place_one_engine_is_enough(world):
    versions = await world.versions(max_loaded=1)
    assert (await versions.promote("v2"))[1].way is SwapWay.IN_PLACE
    assert len(world.loader.engines) == 1
    assert await _ask(versions) == ("v2", "v2")
    with pytest.raises(WrongState, match="v1 is not loaded"):
        await _ask(versions, "v1")
    assert (await versions.rollback())[0] == Pointers(live="v1", previous="v2")


async def test_an_engine_that_keeps_old_weights_is_replaced_by_a_new_one(world):
    versions = await world.versions(max_loaded=1)
    world.loader.stale.add("v2")
    await versions.promote("v2")
    assert world.open_engines() == ["v2"]
    assert len(world.loader.engines) == 2
    assert await _ask(versions) == ("v2", "v2")


async def test_in_place_a_damaged_version_leaves_the_live_one_alone(world):
    versions = await world.versions(max_loaded=1)
    world.loader.broken.add("v2")
    with pytest.raises(InvalidInput, match="damaged"):
        await versions.promote("v2")
    assert len(world.loader.engines) == 1
    assert await _ask(versions) == ("v1", "v1")


async def test_a_caller_who_hangs_up_does_not_leave_a_swap_half_done(world):
    versions = await world.versions(max_loaded=1)
    promoting = asyncio.create_task(versions.promote("v2"))
    await asyncio.sleep(0.005)
    promoting.cancel()
    await asyncio.sleep(0.1)
    assert versions.pointers.live == "v2"
    assert await _ask(versions) == ("v2", "v2")


async def test_an_engine_that_dies_is_started_anew(world):
    versions = await world.versions()
    await versions.load("v2")
    world.loader.engines[1].dead.set()
    dying = asyncio.create_task(versions.death())
    await asyncio.sleep(0.01)
    assert not dying.done(), "v2 is not live"
    assert versions.slot("v2") is None
    world.loader.engines[0].dead.set()
    assert await dying == "killed"
    with pytest.raises(Unavailable, match="has failed"):
        await _ask(versions)
    await versions.revive()
    assert await _ask(versions) == ("v1", "v1")


async def test_with_the_base_its_adapters_die(world):
    versions = await world.versions()
    await versions.promote("v4")
    world.loader.engines[0].dead.set()
    assert await versions.death() == "killed"
    await versions.revive()
    assert await _ask(versions) == ("v4", "v4")


@pytest.mark.parametrize("way", list(SwapWay))
async def test_sixteen_clients_through_fifty_swaps_lose_nothing(world, way):
    versions = await world.versions(**({"max_loaded": 1} if way is SwapWay.IN_PLACE else {}))
    others = {"v4"} if way is SwapWay.ADAPTER else {"v2", "v3"}
    stop = asyncio.Event()
    answered = []

    async def client():
        while not stop.is_set():
            answered.append(await _ask(versions))

    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(client())
        for number in range(50):
            target = sorted(others)[number % len(others)] if way is not SwapWay.ADAPTER or number % 2 == 0 else "v1"
            assert (await versions.promote(target))[1].way is way or target == "v1"
            await asyncio.sleep(0.02)
        stop.set()
    assert len(answered) > 800
    assert all(version == text for version, text in answered)
    assert {version for version, _ in answered} == {"v1", *others}
