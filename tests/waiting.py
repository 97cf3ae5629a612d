"""Waiting for events."""

import asyncio
import time


async def until(condition, timeout_s=90.0):
    """Waits until `condition()` is true. Fails after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)
