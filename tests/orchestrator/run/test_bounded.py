import asyncio

import pytest

from services.core.errors import WrongState
from services.core.pixels import UNLIMITED, PixelBudget
from services.orchestrator.run.bounded import FEWEST, bounded, images_at_once
from tests.waiting import until


async def test_so_many_are_under_way_and_the_next_is_taken_when_there_is_room():
    taken = []
    under_way = set()
    done = []
    gates = {number: asyncio.Event() for number in range(5)}

    def items():
        for number in range(5):
            taken.append(number)
            yield number

    async def work(number):
        under_way.add(number)
        await gates[number].wait()
        under_way.remove(number)
        done.append(number)

    loop = asyncio.create_task(bounded(items(), work, at_once=2))
    await until(lambda: under_way == {0, 1})
    assert taken == [0, 1, 2], "one more waits for room"
    gates[1].set()
    await until(lambda: under_way == {0, 2})
    for gate in gates.values():
        gate.set()
    await loop
    assert sorted(done) == list(range(5))


async def test_the_first_error_ends_all_and_is_raised_itself():
    cancelled = []

    async def work(number):
        if number == 1:
            raise WrongState("another model")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    with pytest.raises(WrongState, match="another model"):
        await bounded(iter(range(100)), work, at_once=4)
    assert set(cancelled) <= {0, 2, 3}


async def test_nothing_to_do():
    async def work(_):
        raise AssertionError

    await bounded([], work, at_once=1)


def test_images_under_way_follow_what_models_take_as_far_as_memory_allows():
    assert images_at_once(2048, PixelBudget(2**19)) == 256
    assert images_at_once(200, PixelBudget(2**19)) == 200
    assert images_at_once(16, PixelBudget(2**19)) == FEWEST
    assert images_at_once(2048, UNLIMITED) == FEWEST, "photos of cameras"
