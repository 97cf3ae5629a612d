"""The one loop over many images or questions, of which a bounded number is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from services.core.pixels import PixelBudget
from services.together import together

BYTES_IN_FLIGHT = 128 * 2**20
"""Memory for the encoded images under way."""
FEWEST = 64
"""Images under way, whatever their size."""
_USUAL_BYTES = 4 * 2**20
"""A photo that is not shrunk. A shrunk one has about a byte for each pixel of its budget."""

Each = TypeVar("Each")


def images_at_once(in_flight: int, budget: PixelBudget) -> int:
    """Images under way for models that take `in_flight` calls, as far as memory allows."""
    held = BYTES_IN_FLIGHT // (budget.max_pixels or _USUAL_BYTES)
    return max(FEWEST, min(in_flight, held))


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
