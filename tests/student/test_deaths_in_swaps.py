"""Engines that die while a version is swapped."""

import asyncio

import pytest

from services.core.errors import SwapFailed, Unavailable
from services.student.slot import SlotState
from tests.student.swapping import ask
from tests.student.test_failed_swaps import OutOfMemoryError, _is_still_live
from tests.waiting import until


async def test_the_live_engine_dies_while_another_version_takes_its_place(world):
    versions = await world.versions()
    world.loader.holds["load", "v2"] = asyncio.Event()
    promoting = asyncio.create_task(versions.promote("v2"))
    await until(lambda: ("load", "v2") in world.loader.began)
    world.loader.engines[0].dead.set()
    assert await versions.death() == "killed"
    reviving = asyncio.create_task(versions.revive())
    world.loader.holds["load", "v2"].set()
    await promoting
    await reviving
    assert world.open_engines() == ["v2"]
    assert world.loader.began.count(("load", "v2")) == 1, "it is up already"
    assert await ask(versions) == ("v2", "v2")


@pytest.mark.parametrize("comes_up", [True, False])
async def test_the_live_engine_dies_while_its_weights_are_replaced(world, comes_up):
    versions = await world.versions(max_loaded=1)
    world.loader.holds["reload", "v2"] = asyncio.Event()
    world.loader.troubles = {} if comes_up else {("load", "v2"): [OutOfMemoryError()]}
    promoting = asyncio.create_task(versions.promote("v2"))
    await until(lambda: ("reload", "v2") in world.loader.began)
    world.loader.engines[0].dead.set()
    assert await versions.death() == "killed"
    reviving = asyncio.create_task(versions.revive())
    world.loader.holds["reload", "v2"].set()
    if comes_up:
        await promoting
    else:
        with pytest.raises(SwapFailed):
            await promoting
    await reviving
    live = "v2" if comes_up else "v1"
    assert world.open_engines() == [live]
    assert await ask(versions) == (live, live)


async def test_a_version_that_dies_as_it_goes_live_is_the_live_versions_death(world):
    versions = await world.versions()
    await versions.load("v2")
    pointing = asyncio.Event()
    loop = asyncio.get_running_loop()
    point = world.store.point

    def slowly(pointers):
        loop.call_soon_threadsafe(world.loader.engines[1].dead.set)
        asyncio.run_coroutine_threadsafe(pointing.wait(), loop).result()
        point(pointers)

    world.store.point = slowly
    dying = asyncio.create_task(versions.death())
    promoting = asyncio.create_task(versions.promote("v2"))
    await until(lambda: versions.slot("v2").state is SlotState.FAILED)
    pointing.set()
    await promoting
    async with asyncio.timeout(30):
        assert await dying == "killed"
    await versions.revive()
    assert await ask(versions) == ("v2", "v2")


async def test_a_version_whose_engine_died_before_it_went_live_does_not_go_live(world):
    versions = await world.versions()
    world.loader.holds["load", "v2"] = asyncio.Event()
    promoting = asyncio.create_task(versions.promote("v2"))
    await until(lambda: ("load", "v2") in world.loader.began)
    promoting_failed = [Unavailable("the engine has died")]
    world.loader.troubles = {("load", "v2"): promoting_failed}
    world.loader.holds["load", "v2"].set()
    with pytest.raises(SwapFailed, match="has died"):
        await promoting
    await _is_still_live(world, versions)
