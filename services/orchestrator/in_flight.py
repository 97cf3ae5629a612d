"""Bounds of memory: the number of images in flight, and their bytes."""

from __future__ import annotations

import asyncio
from collections import deque

QUESTIONS_IN_FLIGHT = 2048
FEWEST_IMAGES = 64
BYTES_IN_FLIGHT = 128 * 2**20


class InFlight:
    """Room for N images, of limited total size. One image always enters, however large."""

    @classmethod
    def with_questions(cls, per_image: int) -> InFlight:
        """Room for QUESTIONS_IN_FLIGHT questions: enough to keep both services busy."""
        return cls(max(FEWEST_IMAGES, QUESTIONS_IN_FLIGHT // per_image), BYTES_IN_FLIGHT)

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
