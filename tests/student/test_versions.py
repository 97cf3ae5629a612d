"""Versions swapped under their callers: leases, gate, candidates, rollback, many swaps."""

import asyncio

import pytest

from services.core.contract import Contract
from services.core.errors import Conflict, InvalidInput, NotFound, WrongState
from services.student.manifest import Origin
from services.student.plan import SwapWay
from services.student.pointers import Pointers
from services.student.slot import SlotState
from tests.student.swapping import ask
from tests.waiting import until


async def test_requests_end_on_the_version_they_began_with(world):
    versions = await world.versions()
    async with versions.lease() as lease:
        await versions.promote("v2")
        assert lease.version == "v1"
        assert (await lease.model.generate(None)).text == "v1"
        promoting = asyncio.create_task(versions.promote("v3"))
        await until(lambda: versions.slot("v1").state is SlotState.DRAINING)
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
    assert await ask(versions) == ("v1", "v1")


async def test_load_makes_a_candidate_that_can_be_pinned(world):
    versions = await world.versions()
    with pytest.raises(WrongState, match="v2 is not loaded"):
        await ask(versions, "v2")
    await versions.load("v2")
    assert versions.pointers == Pointers(live="v1", candidate="v2")
    assert await ask(versions, "v2") == ("v2", "v2")
    with pytest.raises(NotFound, match="v9"):
        await ask(versions, "v9")


async def test_two_operators_cannot_promote_past_each_other(world):
    versions = await world.versions()
    await versions.promote("v2", expected_live="v1")
    with pytest.raises(Conflict, match="v2 is live, not v1"):
        await versions.promote("v3", expected_live="v1")


async def test_a_promotion_whose_reply_was_lost_may_be_repeated(world):
    versions = await world.versions()
    done, _ = await versions.promote("v2", expected_live="v1")
    repeated, _ = await versions.promote("v2", expected_live="v1")
    assert repeated == done == Pointers(live="v2", previous="v1")
    with pytest.raises(Conflict, match="v2 is live, not v3"):
        await versions.promote("v2", expected_live="v3")


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


async def test_a_caller_who_hangs_up_does_not_leave_a_swap_half_done(world):
    versions = await world.versions(max_loaded=1)
    world.loader.holds["reload", "v2"] = asyncio.Event()
    promoting = asyncio.create_task(versions.promote("v2"))
    await until(lambda: ("reload", "v2") in world.loader.began)
    promoting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await promoting
    world.loader.holds["reload", "v2"].set()
    await until(lambda: versions.pointers.live == "v2")
    assert await ask(versions) == ("v2", "v2")


@pytest.mark.parametrize("way", list(SwapWay))
async def test_sixteen_clients_through_fifty_swaps_lose_nothing(world, way):
    versions = await world.versions(**({"max_loaded": 1} if way is SwapWay.IN_PLACE else {}))
    targets = ["v4", "v1"] if way is SwapWay.ADAPTER else ["v2", "v3"]
    stop = asyncio.Event()
    answered = []

    async def client():
        while not stop.is_set():
            answered.append(await ask(versions))

    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(client())
        for number in range(50):
            target = targets[number % 2]
            assert (await versions.promote(target))[1].way is way or target == "v1"
            enough = len(answered) + 16
            await until(lambda enough=enough: len(answered) >= enough)
        stop.set()
    assert all(version == text for version, text in answered)
    assert {version for version, _ in answered} == {"v1", *targets}
