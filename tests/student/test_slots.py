import asyncio

import pytest

from services.core.errors import Conflict, InvalidInput, NotFound, WrongState
from services.engines.model import Reply
from services.student.slots import Slots, SlotState
from services.student.store import Contract, Origin, Pointers, VersionStore
from tests.serving import fake_checkpoint


class Model:
    """Answers with its version's name; says when it is closed."""

    def __init__(self, name):
        self.name = name
        self.closed = False

    @property
    def fingerprint(self):
        return self.name

    async def generate(self, prompt):
        await asyncio.sleep(0.01)
        assert not self.closed
        return Reply(self.name, 1, 1, "stop")

    async def close(self):
        self.closed = True


@pytest.fixture
async def world(tmp_path):
    """Slots over a store with versions v1 to v4, v1 live; loading v4 fails."""
    store = VersionStore(tmp_path / "store")
    for number in range(4):
        store.add(fake_checkpoint(tmp_path / f"{number}"), Origin(), Contract())
    store.point(Pointers(live="v1"))
    models = {}

    async def load(name):
        await asyncio.sleep(0.01)
        if name == "v4":
            raise InvalidInput("v4 is damaged")
        models[name] = Model(name)
        return models[name]

    slots = Slots(store, load, max_loaded=2)
    await slots.start()
    return slots, store, models


async def test_requests_end_on_the_version_they_began_with(world):
    slots, _, models = world
    with slots.lease() as lease:
        await slots.promote("v2")
        assert lease.version == "v1"
        assert (await lease.model.generate(None)).text == "v1"
        promoting = asyncio.create_task(slots.promote("v3"))
        await asyncio.sleep(0.05)
        assert not promoting.done(), "v1 must not be unloaded under a lease"
        assert not models["v1"].closed
    await promoting
    assert models["v1"].closed
    assert slots.pointers == Pointers(live="v3", previous="v2")


async def test_a_version_that_does_not_load_never_becomes_live(world):
    slots, store, _ = world
    with pytest.raises(InvalidInput, match="damaged"):
        await slots.promote("v4")
    assert slots.pointers.live == store.pointers().live == "v1"
    assert slots.state("v4")[0] is SlotState.FAILED
    with slots.lease() as lease:
        assert lease.version == "v1"


async def test_load_makes_a_candidate_that_can_be_pinned(world):
    slots, _, _ = world
    with pytest.raises(WrongState, match="v2 is not loaded"), slots.lease("v2"):
        pass
    await slots.load("v2")
    assert slots.pointers == Pointers(live="v1", candidate="v2")
    with slots.lease("v2") as lease:
        assert lease.version == "v2"
    with pytest.raises(NotFound, match="v9"), slots.lease("v9"):
        pass


async def test_two_operators_cannot_promote_past_each_other(world):
    slots, _, _ = world
    await slots.promote("v2", expected_live="v1")
    with pytest.raises(Conflict, match="v2 is live, not v1"):
        await slots.promote("v3", expected_live="v1")


async def test_rollback_goes_back_and_forth(world):
    slots, _, _ = world
    with pytest.raises(WrongState, match="no previous"):
        await slots.rollback()
    await slots.promote("v2")
    assert await slots.rollback() == Pointers(live="v1", previous="v2")
    assert await slots.rollback() == Pointers(live="v2", previous="v1")


async def test_no_more_versions_are_loaded_than_allowed(world):
    slots, _, models = world
    await slots.promote("v2")
    await slots.promote("v3")
    assert [name for name, model in models.items() if not model.closed] == ["v2", "v3"]


async def test_a_damaged_live_version_falls_back_to_the_previous(world, tmp_path):
    _, store, _ = world
    store.point(Pointers(live="v4", previous="v2"))

    async def load(name):
        if name == "v4":
            raise InvalidInput("damaged")
        return Model(name)

    slots = Slots(store, load, max_loaded=2)
    await slots.start()
    assert slots.pointers.live == store.pointers().live == "v2"


async def test_sixteen_clients_through_ten_swaps_lose_nothing(world):
    slots, _, _ = world
    stop = asyncio.Event()
    answered = []

    async def client():
        while not stop.is_set():
            with slots.lease() as lease:
                reply = await lease.model.generate(None)
                answered.append((lease.version, reply.text))

    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(client())
        for round_ in range(10):
            await slots.promote("v2" if round_ % 2 == 0 else "v3")
            await asyncio.sleep(0.02)
        stop.set()
    assert len(answered) > 160
    assert all(version == text for version, text in answered)
    assert {version for version, _ in answered} == {"v1", "v2", "v3"}
