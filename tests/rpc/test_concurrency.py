import asyncio

from services.rpc.concurrency import BACK_OFF, FIRST, Concurrency


async def test_doubles_up_to_the_first_refusal_then_grows_by_one_a_round():
    places = Concurrency(512)
    await use(places, 1000, seconds=0.01)
    assert places.limit == 512
    places.refused(began_at=1e12)
    assert places.limit == 512 * BACK_OFF
    await use(places, 400, seconds=0.01)
    assert places.limit == 512 * BACK_OFF + 1


async def test_calls_that_were_under_way_together_are_one_refusal():
    places = Concurrency(64)
    places.refused(began_at=1.0)
    for began_at in (0.5, 0.9):
        places.refused(began_at)
    assert places.limit == FIRST * BACK_OFF


async def test_never_less_than_one_nor_more_than_the_most():
    places = Concurrency(8)
    assert places.limit == 8
    for _ in range(100):
        places.refused(began_at=1e12)
    assert places.limit == 1
    await use(places, 100, seconds=0.01)
    assert 1 < places.limit <= 8


async def test_the_most_may_change():
    places = Concurrency(64)
    await use(places, 1000, seconds=0.01)
    assert places.limit == 64
    places.most = 256
    await use(places, 1000, seconds=0.01)
    assert places.limit == 256
    places.most = 32
    assert places.limit == 32


async def test_does_not_grow_where_the_places_there_are_suffice():
    places = Concurrency(512)
    for _ in range(100):
        async with places:
            places.answered(0.01)
    assert places.limit == FIRST


async def test_a_sudden_slowness_is_a_sign_of_trouble_and_a_gradual_one_is_not():
    places = Concurrency(512)
    for seconds in (0.2, 0.25, 0.3, 0.4, 0.5):
        await use(places, places.limit, seconds, crowd=1)
    grown = places.limit
    assert grown == 512
    await use(places, grown, seconds=2.0, crowd=1)
    assert places.limit == grown * BACK_OFF


async def test_slowness_too_short_to_matter_is_passed_over():
    places = Concurrency(512)
    await use(places, FIRST, seconds=0.001, crowd=1)
    await use(places, places.limit, seconds=0.05, crowd=1)
    assert places.limit == 4 * FIRST


async def test_places_are_given_in_the_order_they_were_asked_for_and_back_where_the_asker_is_gone():
    places, order = Concurrency(1), []

    async def take(number):
        async with places:
            order.append(number)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(take(number)) for number in range(10)]
    await asyncio.sleep(0)
    for gone in (3, 4):
        tasks[gone].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 1, 2, 5, 6, 7, 8, 9]
    async with asyncio.timeout(60), places:
        pass


async def use(places, calls, seconds, crowd=2):
    """Makes N calls, `crowd` times as many at once as there are places."""

    async def call():
        async with places:
            await asyncio.sleep(0)
            places.answered(seconds)

    left = calls
    while left > 0:
        batch = min(left, crowd * places.limit)
        await asyncio.gather(*(call() for _ in range(batch)))
        left -= batch
