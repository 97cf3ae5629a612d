"""Bounds of memory: the number of images in flight, and their bytes."""

from __future__ import annotations

import asyncio
from collections import deque

from services.orchestrator.run.bounded import BYTES_IN_FLIGHT, FEWEST

QUESTIONS_IN_FLIGHT = 2048
AHEAD = 4
"""Questions under way for each call that a model takes: both models, and some that wait."""


class InFlight:
    """Room for N images, of limited total size. One image always enters, however large."""

    @classmethod
    def with_questions(cls, per_image: int, calls: int) -> InFlight:
        """Room for enough questions to keep services busy that take up to `calls` at a time."""
        questions = max(QUESTIONS_IN_FLIGHT, AHEAD * calls)
        return cls(max(FEWEST, questions // per_image), BYTES_IN_FLIGHT)

    def __init__(self, images: int, size: int) -> None:
        self._most_images = images
        self._most_bytes = size
        self._images = self._bytes = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self, size: int) -> None:
        """Waits until there is room for `size` more bytes. One caller at a time."""
        while self._images and (
            self._images >= self._most_images or self._bytes + size > self._most_bytes
        ):
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            await place
        self._images += 1
        self._bytes += size

    def leave(self, size: int) -> None:
        self._images -= 1
        self._bytes -= size
        if self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
