"""Gate of a swap in place: requests wait here while weights are replaced."""

from __future__ import annotations

import asyncio

from services.core.errors import Overloaded

MAX_WAITING = 4096


class SwapGate:
    """A gate that is open except during a swap in place."""

    def __init__(self) -> None:
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._waiting = 0

    def close(self) -> None:
        self._is_open.clear()

    def open(self) -> None:
        self._is_open.set()

    async def enter(self) -> None:
        """Wait until the gate is open. Raises Overloaded: too many wait already."""
        while not self._is_open.is_set():
            if self._waiting >= MAX_WAITING:
                raise Overloaded(
                    f"{self._waiting} requests already wait for the end of a swap: ask again later",
                    retry_after_s=1.0,
                    limit="swap_queue",
                )
            self._waiting += 1
            try:
                await self._is_open.wait()
            finally:
                self._waiting -= 1
