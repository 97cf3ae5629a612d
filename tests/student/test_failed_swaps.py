"""A swap that fails, at any step and by any error, leaves the live version live."""

import asyncio

import pytest

from services.core.contract import Contract
from services.core.errors import (
    InvalidInput,
    MpaError,
    SwapFailed,
    Unavailable,
    WrongState,
    described,
)
from services.student.manifest import Origin
from services.student.plan import SwapWay
from services.student.pointers import Pointers
from services.student.slot import SlotState
from tests.student.swapping import LITTLE, ask
from tests.waiting import until


class OutOfMemoryError(RuntimeError):
    """Error named like torch's."""


TROUBLES = [
    OutOfMemoryError("2.00 GiB"),
    OSError(28, "No space left on device"),
    RuntimeError("boom"),
    KeyError("chat_template"),
    StopAsyncIteration(),
    AssertionError(),
    asyncio.CancelledError(),
    MpaError("no"),
    Unavailable("dead"),
]
BROKEN = InvalidInput("the checkpoint can't be loaded", field="model", reason="VERSION_CORRUPT")


async def _is_still_live(world, versions, name="v1"):
    assert versions.pointers == world.store.pointers() == Pointers(live=name)
    assert await ask(versions) == (name, name)
    assert await ask(versions, name) == (name, name)


async def _promote_in_vain(versions, name, kind=SwapFailed, match="version v1 is still live"):
    async with asyncio.timeout(30):
        with pytest.raises(kind, match=match) as refused:
            await versions.promote(name)
    return refused.value


@pytest.mark.parametrize("trouble", TROUBLES, ids=repr)
@pytest.mark.parametrize("step", ["inspect", "load"])
async def test_in_place(world, step, trouble):
    """Fail before any change, or when both the old and a new engine refuse the weights."""
    versions = await world.versions(max_loaded=1)
    world.loader.troubles = {
        (each, "v2"): [trouble] for each in {step, "reload" if step == "load" else step}
    }
    await _promote_in_vain(versions, "v2")
    await _is_still_live(world, versions)
    assert world.open_engines() == ["v1"]
    assert (await versions.promote("v2"))[0].live == "v2", "what was wrong has passed"


@pytest.mark.parametrize(
    "trouble", [each for each in TROUBLES if isinstance(each, Exception)], ids=repr
)
async def test_in_place_an_engine_that_fails_to_reload_is_replaced(world, trouble):
    versions = await world.versions(max_loaded=1)
    world.loader.troubles = {("reload", "v2"): [trouble]}
    assert (await versions.promote("v2"))[0].live == "v2"
    assert world.open_engines() == ["v2"]
    assert await ask(versions) == ("v2", "v2")


async def test_the_files_fault_is_told_as_such(world):
    for versions in (await world.versions(max_loaded=1), await world.versions()):
        world.loader.troubles = {("load", "v2"): [BROKEN], ("reload", "v2"): [BROKEN]}
        error = await _promote_in_vain(
            versions, "v2", InvalidInput, "can't be loaded; version v1 is still live"
        )
        assert (error.field, error.reason) == ("model", "VERSION_CORRUPT")


@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize("settings", [{"max_loaded": 1}, {}], ids=["in place", "two slots"])
@pytest.mark.parametrize("trouble", TROUBLES, ids=repr)
async def test_a_pointer_that_can_not_be_written(world, settings, trouble, is_written):
    versions = await world.versions(**settings)
    world.store.troubles = [trouble]
    world.store.is_written = is_written
    await _promote_in_vain(versions, "v2")
    await _is_still_live(world, versions)
    assert (await versions.promote("v2"))[0].live == "v2"
    assert await ask(versions) == ("v2", "v2")


@pytest.mark.parametrize("trouble", TROUBLES, ids=repr)
@pytest.mark.parametrize(
    ("step", "name"), [("load", "v2"), ("adapt", "v4")], ids=["two slots", "adapter"]
)
@pytest.mark.parametrize("change", ["load", "promote"])
async def test_beside_the_live_one(world, change, step, name, trouble):
    versions = await world.versions()
    world.loader.troubles = {(step, name): [trouble]}
    with pytest.raises(SwapFailed, match="version v1 is still live"):
        await getattr(versions, change)(name)
    await _is_still_live(world, versions)
    slot = versions.slot(name)
    assert (slot.state, slot.model) == (SlotState.FAILED, None)
    assert slot.error == described(trouble)
    assert world.open_engines() == ["v1"]
    with pytest.raises(WrongState, match="is not loaded"):
        await ask(versions, name)
    await getattr(versions, change)(name)
    assert await ask(versions, name) == (name, name)


async def test_requests_at_the_gate_are_answered_by_the_version_that_is_back(world):
    versions = await world.versions(max_loaded=1)
    world.loader.holds["reload", "v2"] = asyncio.Event()
    world.loader.troubles = {(step, "v2"): [OutOfMemoryError()] for step in ("reload", "load")}
    promoting = asyncio.create_task(versions.promote("v2"))
    await until(lambda: ("reload", "v2") in world.loader.began)
    asking = [asyncio.create_task(ask(versions)) for _ in range(8)]
    world.loader.holds["reload", "v2"].set()
    with pytest.raises(SwapFailed):
        await promoting
    assert await asyncio.gather(*asking) == [("v1", "v1")] * 8


async def test_a_live_version_that_does_not_come_back_is_dead_and_is_revived(world):
    versions = await world.versions(max_loaded=1)
    world.loader.troubles = {
        ("reload", "v2"): [OutOfMemoryError()],
        ("load", "v2"): [OutOfMemoryError("two")],
        ("load", "v1"): [OutOfMemoryError("one"), OutOfMemoryError("still")],
    }
    dying = asyncio.create_task(versions.death())
    await _promote_in_vain(versions, "v2", match="two.*is being loaded again")
    async with asyncio.timeout(30):
        assert "one" in await dying
    with pytest.raises(Unavailable, match="ask again"):
        await ask(versions)
    with pytest.raises(OutOfMemoryError, match="still"):
        await versions.revive()
    with pytest.raises(Unavailable, match="ask again"):
        await ask(versions)
    await versions.revive()
    await _is_still_live(world, versions)


async def test_another_version_may_be_promoted_while_the_live_one_does_not_come_back(world):
    versions = await world.versions(max_loaded=1)
    world.loader.engines[0].dead.set()
    await versions.death()
    world.loader.troubles = {("load", "v1"): [OutOfMemoryError()]}
    with pytest.raises(OutOfMemoryError):
        await versions.revive()
    async with asyncio.timeout(30):
        assert (await versions.promote("v2"))[1].way is SwapWay.IN_PLACE
    await versions.revive()
    assert world.open_engines() == ["v2"], "it is up already"
    assert await ask(versions) == ("v2", "v2")


@pytest.mark.parametrize("step", ["reload", "load"])
async def test_a_service_that_ends_breaks_a_swap_off(world, step):
    versions = await world.versions(max_loaded=1)
    if step == "load":
        world.loader.troubles = {("reload", "v2"): [RuntimeError("no")]}
    world.loader.holds[step, "v2"] = asyncio.Event()
    promoting = asyncio.create_task(versions.promote("v2"))
    await until(lambda: (step, "v2") in world.loader.began)
    async with asyncio.timeout(30):
        await versions.close()
    with pytest.raises(SwapFailed, match="was cancelled"):
        await promoting
    assert world.open_engines() == []
    assert world.store.pointers().live == "v1"
    assert world.loader.began[-1] == (step, "v2"), "nothing is started by a service that ends"


@pytest.mark.slow
async def test_a_service_that_ends_waits_little_for_leases(world):
    versions = await world.versions()
    await versions.load("v2")
    async with versions.lease(), versions.lease("v2"), asyncio.timeout(30):
        await versions.close()
    assert world.open_engines() == []


async def test_an_engine_that_does_not_end_as_it_should_is_left_behind(world):
    async def refuse():
        raise RuntimeError("no end")

    versions = await world.versions(max_loaded=1)
    world.loader.engines[0].close = refuse
    world.loader.stale.add("v2")
    assert (await versions.promote("v2"))[0].live == "v2"
    assert await ask(versions) == ("v2", "v2")


async def test_room_is_made_of_what_nobody_points_to_first(world):
    """Order of unloading: oldest first, then versions with a pointer, then those in use."""
    for _ in range(2):
        world.store.add(world.store.path("v2"), Origin(parent="v1"), Contract())
    versions = await world.versions(max_loaded=4)
    await versions.promote("v2")
    for name in ("v3", "v5", "v6"):
        await versions.load(name)
    assert world.open_engines() == ["v1", "v2", "v5", "v6"], (
        "v1 is the previous version, v3 is nobody's"
    )
    assert versions.pointers == Pointers(live="v2", candidate="v6", previous="v1")
    async with asyncio.timeout(30), versions.lease("v5"):
        await versions.load("v3")
    assert world.open_engines() == ["v2", "v5", "v6", "v3"], (
        "v5 was in use, v1 the older of the others"
    )


async def test_in_place_all_room_is_made_before_the_live_version_is_touched(world):
    versions = await world.versions(max_loaded=3)
    await versions.load("v2")
    world.loader.room_found = LITTLE
    world.loader.holds["reload", "v3"] = asyncio.Event()
    promoting = asyncio.create_task(versions.promote("v3"))
    await until(lambda: ("reload", "v3") in world.loader.began)
    assert len(world.open_engines()) == 1
    assert versions.slot("v2") is None
    world.loader.holds["reload", "v3"].set()
    await promoting


@pytest.mark.parametrize(
    "trouble", [OutOfMemoryError(), OSError(5, "Input/output error")], ids=repr
)
async def test_at_the_start_too_any_error_leads_back_to_the_previous_version(world, trouble):
    world.store.point(Pointers(live="v3", previous="v2"))
    world.loader.troubles = {("load", "v3"): [trouble]}
    versions = await world.versions()
    await _is_still_live(world, versions, "v2")
