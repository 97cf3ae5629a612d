"""Waiting for events."""

import asyncio
import time


async def until(condition, timeout_s=90.0):
    """Waits until `condition()` is true. Fails after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def until_awaited(condition, timeout_s=90.0):
    """`until` for a condition that is itself awaited."""
    end = time.monotonic() + timeout_s
    while not await condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


def until_true(condition, timeout_s=90.0, describe=str):
    """`until` for tests without an event loop. `describe()`: the message of the failure."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, describe()
        time.sleep(0.05)


def when_steady(reading, steady_s=1.0, timeout_s=90.0):
    """The value of `reading()`, when it has been the same for `steady_s`."""
    end = time.monotonic() + timeout_s
    last, since = reading(), time.monotonic()
    while time.monotonic() - since < steady_s:
        assert time.monotonic() < end, f"{last} has not come to rest"
        time.sleep(0.05)
        if (value := reading()) != last:
            last, since = value, time.monotonic()
    return last
