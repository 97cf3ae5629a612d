"""Engines of versions: ways to swap, adapters, failed canaries, dead engines."""

import asyncio

import pytest

from services.core.errors import InvalidInput, Unavailable, WrongState
from services.student.plan import SwapWay
from services.student.pointers import Pointers
from tests.student.swapping import LITTLE, ask
from tests.waiting import until


async def test_the_way_follows_from_the_memory_there_is(world):
    versions = await world.versions()
    assert (await versions.planner.plan("v2")).way is SwapWay.TWO_SLOTS
    assert (await versions.planner.plan("v4")).way is SwapWay.ADAPTER
    world.loader.room_found = LITTLE
    plan = await versions.planner.plan("v2")
    assert plan.way is SwapWay.IN_PLACE
    assert "does not fit" in plan.reason
    with pytest.raises(WrongState, match="can't be loaded next to v1") as refused:
        await versions.load("v2")
    assert refused.value.reason == "ONE_MODEL_FITS"
    assert (
        await (await world.versions(way=SwapWay.TWO_SLOTS)).planner.plan("v2")
    ).way is SwapWay.TWO_SLOTS
    assert (await (await world.versions(max_loaded=1)).planner.plan("v2")).way is SwapWay.IN_PLACE


async def test_an_adapter_shares_its_bases_engine(world):
    versions = await world.versions()
    assert (await versions.promote("v4"))[1].way is SwapWay.ADAPTER
    assert world.open_engines() == ["v1"]
    assert await ask(versions) == ("v4", "v4")
    assert await ask(versions, "v1") == ("v1", "v1"), "chosen per request"
    assert (await versions.rollback())[0].live == "v1"
    assert world.open_engines() == ["v1"]


async def test_an_adapter_that_engines_are_not_started_for_comes_in_as_its_merged_version(world):
    world.loader.serves_adapters = False
    versions = await world.versions()
    assert (await versions.promote("v4"))[1].way is SwapWay.TWO_SLOTS
    assert world.open_engines() == ["v1", "v4"]
    assert await ask(versions) == ("v4", "v4")


async def test_in_place_one_engine_is_enough(world):
    versions = await world.versions(max_loaded=1)
    assert (await versions.promote("v2"))[1].way is SwapWay.IN_PLACE
    assert len(world.loader.engines) == 1
    assert await ask(versions) == ("v2", "v2")
    with pytest.raises(WrongState, match="v1 is not loaded"):
        await ask(versions, "v1")
    assert (await versions.rollback())[0] == Pointers(live="v1", previous="v2")


async def test_an_engine_that_keeps_old_weights_is_replaced_by_a_new_one(world):
    versions = await world.versions(max_loaded=1)
    world.loader.stale.add("v2")
    await versions.promote("v2")
    assert world.open_engines() == ["v2"]
    assert len(world.loader.engines) == 2
    assert await ask(versions) == ("v2", "v2")


async def test_in_place_a_damaged_version_leaves_the_live_one_alone(world):
    versions = await world.versions(max_loaded=1)
    world.loader.broken.add("v2")
    with pytest.raises(InvalidInput, match="damaged"):
        await versions.promote("v2")
    assert len(world.loader.engines) == 1
    assert await ask(versions) == ("v1", "v1")


async def test_an_engine_that_dies_is_started_again(world):
    versions = await world.versions()
    await versions.load("v2")
    world.loader.engines[1].dead.set()
    dying = asyncio.create_task(versions.death())
    await until(lambda: versions.slot("v2") is None)
    assert not dying.done(), "v2 is not live"
    world.loader.engines[0].dead.set()
    assert await dying == "killed"
    with pytest.raises(Unavailable, match="has failed"):
        await ask(versions)
    await versions.revive()
    assert await ask(versions) == ("v1", "v1")


async def test_with_the_base_its_adapters_die(world):
    versions = await world.versions()
    await versions.promote("v4")
    world.loader.engines[0].dead.set()
    assert await versions.death() == "killed"
    await versions.revive()
    assert await ask(versions) == ("v4", "v4")
