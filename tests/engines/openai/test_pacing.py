"""How fast a provider is asked."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from services.core.errors import Overloaded
from services.engines.openai.pacing import LONGEST_WAIT_S, Pace, retry_after_s
from tests.engines.openai.asking import prompt, running
from tests.engines.provider import error, providing, until


@pytest.mark.parametrize("header", ["retry-after-ms", "retry-after"])
async def test_a_429_cools_down_every_request(header):
    async with providing() as provider, running(provider) as engine:
        pause = {"retry-after-ms": "1000", "retry-after": "1"}[header]
        provider.script.append(error(429, headers={header: pause}))
        first = asyncio.create_task(engine.generate(prompt()))
        await until(lambda: provider.requests)
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await engine.generate(prompt("another?"))
        assert time.monotonic() - began > 0.7
        await first
    assert len(provider.requests) == 3


async def test_a_pause_longer_than_a_caller_can_wait_is_handed_on():
    async with providing() as provider, running(provider) as engine:
        provider.script.append(error(429, headers={"retry-after": "3600"}))
        with pytest.raises(Overloaded):
            await engine.generate(prompt())
        with pytest.raises(Overloaded, match="used up for the next 3600 s"):
            await engine.generate(prompt("another?"))
    assert len(provider.requests) == 1


def test_how_long_to_wait():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after_s(httpx.Headers({"retry-after": "7"})) == 7
    assert retry_after_s(httpx.Headers({"retry-after-ms": "250", "retry-after": "7"})) == 0.25
    assert retry_after_s(httpx.Headers({"retry-after": date})) == pytest.approx(30, abs=2)
    assert retry_after_s(httpx.Headers({"retry-after": "soon"})) is None
    assert retry_after_s(httpx.Headers()) is None


async def test_requests_and_tokens_keep_to_their_rates():
    async def seconds(pace, tokens, count):
        began = time.monotonic()
        await asyncio.gather(*[pace.turn(tokens) for _ in range(count)])
        return time.monotonic() - began

    assert 0.8 < await seconds(Pace(600, 0, 9), 1, 20) < 1.6  # 10 a second, the first second's at once
    assert 0.8 < await seconds(Pace(0, 60_000, 9), 100, 20) < 1.6
    assert await seconds(Pace(0, 0, 9), 100, 20) < 0.1
    pace = Pace(0, 60_000, 9)
    await pace.turn(50_000)
    pace.settle(50_000, 100)
    assert await seconds(pace, 100, 5) < 0.2
    with pytest.raises(Overloaded):
        await seconds(pace, 60_000 * (LONGEST_WAIT_S / 60 + 1), 2)


async def test_no_more_requests_than_allowed_are_under_way():
    most = 0

    async with providing() as provider, running(provider, MAX_CONCURRENT=3) as engine:

        async def watch():
            nonlocal most
            while True:
                most = max(most, len(provider.requests) - answered)
                await asyncio.sleep(0.005)

        answered = 0
        watching = asyncio.create_task(watch())
        provider.script += [0.1] * 9

        async def ask(number):
            nonlocal answered
            await engine.generate(prompt(f"number {number}?"))
            answered += 1

        await asyncio.gather(*[ask(number) for number in range(9)])
        watching.cancel()
    assert most == 3
