"""Bounds of a stream, by count and by bytes: items under way, and replies that nobody has read yet."""

from __future__ import annotations

import asyncio

MOST_HELD = 256
MOST_BYTES = 64 * 2**20


class Window:
    """An item has its place from when it is read until its reply is written. One may exceed the bytes, not two."""

    def __init__(self) -> None:
        self.items = 0
        self._bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def enter(self, size: int) -> None:
        """Waits for room: meanwhile nothing is read, which holds the client back."""
        await self._has_room.wait()
        self._change(1, size)

    def leave(self, size: int) -> None:
        self._change(-1, -size)

    def resize(self, before: int, after: int) -> None:
        """A request's place is its reply's from now on."""
        self._change(0, after - before)

    def _change(self, items: int, size: int) -> None:
        self.items += items
        self._bytes += size
        if self.items < MOST_HELD and self._bytes < MOST_BYTES:
            self._has_room.set()
        else:
            self._has_room.clear()
