"""The pace of requests to a provider."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from services.core.errors import Overloaded
from services.engines.openai.pacing import LONGEST_WAIT_S, Pace, RequestRate, retry_after_s
from tests.engines.openai.asking import prompt, running
from tests.engines.provider import error, providing
from tests.waiting import until


@pytest.mark.parametrize("header", ["retry-after-ms", "retry-after"])
async def test_a_429_cools_down_every_request(header, caplog):
    caplog.set_level("INFO", "services")
    async with providing() as provider, running(provider) as engine:
        pause = {"retry-after-ms": "1000", "retry-after": "1"}[header]
        provider.script.append(error(429, headers={header: pause}))
        first = asyncio.create_task(engine.generate(prompt()))
        await until(lambda: "limits the rate" in caplog.text)
        await engine.generate(prompt("another?"))
        await first
    refused, *others = provider.times
    assert len(others) == 2
    assert all(at - refused >= 1 for at in others)


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


def test_a_rate_is_spread_evenly_after_a_second_at_once():
    now = 100.0
    rate = RequestRate(600, clock=lambda: now)
    waits = []
    for _ in range(20):
        waits.append(rate.wait_s())
        rate.take(1)
    assert waits == pytest.approx([0] * 11 + [number / 10 for number in range(1, 10)])
    now += 0.5
    assert rate.wait_s() == pytest.approx(0.5)
    rate.take(-10)
    assert rate.wait_s() == 0, "unused units are given back"


def test_without_a_rate_nobody_waits():
    rate = RequestRate(0)
    rate.take(1e9)
    assert rate.wait_s() == 0


@pytest.mark.parametrize("pace", [Pace(600, 0, 9), Pace(0, 60_000, 9)], ids=["requests", "tokens"])
async def test_a_pace_keeps_to_its_rates(pace):
    began = time.monotonic()
    await asyncio.gather(*[pace.turn(100) for _ in range(20)])
    assert time.monotonic() - began > 0.8, "10 a second, the first ten at once"


async def test_a_reply_that_took_less_than_estimated_gives_the_rest_back():
    pace = Pace(0, 60_000, 9)
    estimated = round(1000 * (LONGEST_WAIT_S + 5))
    await pace.turn(estimated)
    with pytest.raises(Overloaded):
        await pace.turn(100)
    pace.settle(estimated, 100)
    await pace.turn(100)


async def test_no_more_requests_than_allowed_are_under_way():
    async with providing() as provider, running(provider, MAX_CONCURRENT=3) as engine:
        go = asyncio.Event()
        provider.script += [go] * 9
        questions = [prompt(f"number {number}?") for number in range(9)]
        asking = asyncio.gather(*map(engine.generate, questions))
        await until(lambda: provider.under_way == 3)
        async with httpx.AsyncClient() as other:  # a fourth would have arrived before this one
            await other.get(f"{provider.url}/models")
        go.set()
        await asking
    assert provider.most_under_way == 3
    assert len(provider.requests) == 9
