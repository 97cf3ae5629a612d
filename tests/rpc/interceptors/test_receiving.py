"""Places for arriving messages: slow senders push out only each other."""

import asyncio
from contextlib import suppress

import pytest

from services.core.errors import Overloaded
from services.rpc.interceptors.receiving import Receiving
from tests.waiting import until


async def half_sent(receiving, address, outcomes):
    try:
        async with receiving.place(address):
            await asyncio.Event().wait()
    except Overloaded:
        outcomes.append(address)


async def received(receiving, address):
    async with receiving.place(address):
        await asyncio.sleep(0)
    return True


async def test_a_message_that_takes_long_makes_room_for_the_next():
    receiving, outcomes = Receiving(most=4, most_per_address=4, fair_s=0.05), []
    slow = [asyncio.create_task(half_sent(receiving, "a", outcomes)) for _ in range(4)]
    await until(lambda: receiving.arriving == 4)
    assert await received(receiving, "b")
    await until(lambda: outcomes == ["a"])
    assert all(await asyncio.gather(*(received(receiving, "b") for _ in range(50))))
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    assert receiving.arriving == 0


async def test_an_address_pushes_out_its_own_messages_first():
    receiving, outcomes = Receiving(most=4, most_per_address=2, fair_s=0.0), []
    tasks = [
        asyncio.create_task(half_sent(receiving, address, outcomes))
        for address in ("b", "a", "a", "a", "a")
    ]
    await until(lambda: outcomes == ["a", "a"])
    assert receiving.arriving == 3
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_burst_of_messages_that_arrive_at_once_is_waited_for():
    receiving = Receiving(most=4, most_per_address=4, fair_s=60.0)
    assert all(await asyncio.gather(*(received(receiving, "a") for _ in range(500))))


async def test_a_caller_who_gives_up_waiting_takes_no_place():
    receiving = Receiving(most=1, most_per_address=1, fair_s=60.0)
    holder = asyncio.create_task(half_sent(receiving, "a", []))
    await until(lambda: receiving.arriving == 1)
    waiting = asyncio.create_task(received(receiving, "b"))
    await asyncio.sleep(0)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    holder.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holder
    assert await received(receiving, "c")
