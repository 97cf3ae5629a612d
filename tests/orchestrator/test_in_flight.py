import asyncio

from services.orchestrator.in_flight import InFlight


async def entering(room, size):
    task = asyncio.create_task(room.enter(size))
    await asyncio.sleep(0.01)
    return task


async def test_as_many_images_as_there_is_room_for():
    room = InFlight(images=2, size=1000)
    await room.enter(1)
    await room.enter(1)
    third = await entering(room, 1)
    assert not third.done()
    room.leave(1)
    await third


async def test_as_many_bytes_as_there_is_room_for_but_never_none():
    room = InFlight(images=100, size=1000)
    await room.enter(5000)
    second = await entering(room, 10)
    assert not second.done()
    room.leave(5000)
    await second
    await room.enter(990)
    fourth = await entering(room, 1)
    room.leave(10)
    await fourth


async def test_large_services_get_more_questions():
    room = InFlight.with_questions(2, calls=4096)
    for _ in range(8192):
        await room.enter(1)
    assert not (await entering(room, 1)).done()
