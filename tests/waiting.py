"""Waiting for what comes about in its own time."""

import asyncio
import time


async def until(condition, timeout_s=90.0):
    """Fails where that takes longer."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)
