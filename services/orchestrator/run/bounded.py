"""The one loop over many images or questions, of which a bounded number is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from services.together import together

Each = TypeVar("Each")


async def bounded(
    items: Iterable[Each], work: Callable[[Each], Awaitable[None]], at_once: int
) -> None:
    """Does `work` for every item, for at most `at_once` of them at a time.

    One more item is taken from `items` and waits for room. The first error ends the loop
    and the work in flight, and is raised.
    """
    permits = asyncio.Semaphore(at_once)

    async def one(item: Each) -> None:
        try:
            await work(item)
        finally:
            permits.release()

    async with together() as group:
        for item in items:
            await permits.acquire()
            group.create_task(one(item))
