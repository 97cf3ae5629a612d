"""Bounds of a stream by count and bytes, for items under way and unread replies."""

from __future__ import annotations

import asyncio

MOST_HELD = 256
MOST_BYTES = 64 * 2**20


class Window:
    """Places of items, from reading until the reply is written. Only one may exceed the bytes."""

    def __init__(self) -> None:
        self.items = 0
        self._bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def enter(self, size: int) -> None:
        """Waits for room. Nothing is read meanwhile, which slows the client."""
        await self._has_room.wait()
        self._change(1, size)

    def leave(self, size: int) -> None:
        self._change(-1, -size)

    def resize(self, before: int, after: int) -> None:
        """Gives a request's place to its reply."""
        self._change(0, after - before)

    def _change(self, items: int, size: int) -> None:
        self.items += items
        self._bytes += size
        if self.items < MOST_HELD and self._bytes < MOST_BYTES:
            self._has_room.set()
        else:
            self._has_room.clear()
