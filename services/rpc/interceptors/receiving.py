"""Limits of messages that arrive at once: each may fill MAX_MESSAGE_BYTES of memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from services.core.errors import Overloaded

MOST, MOST_PER_ADDRESS = 64, 32
"""Numbers of places: 2 GiB of messages in all, 1 GiB from one address."""
FAIR_S = 1.0
"""Seconds that a message always has, even if others wait for its place."""


@dataclass(frozen=True, slots=True, eq=False)
class _Arrival:
    address: str
    began: float
    eviction: asyncio.Timeout


class Receiving:
    """Places for arriving messages, on one event loop.

    A message that takes longer than `fair_s` makes room for the next: half-sent messages push out
    each other and no complete one.
    """

    def __init__(
        self, most: int = MOST, most_per_address: int = MOST_PER_ADDRESS, fair_s: float = FAIR_S
    ) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._fair_s = fair_s
        self._arrivals: dict[_Arrival, None] = {}
        self._freed = asyncio.Event()

    @property
    def arriving(self) -> int:
        """Number of messages that are arriving."""
        return len(self._arrivals)

    @asynccontextmanager
    async def place(self, address: str) -> AsyncIterator[None]:
        """Waits for a place and holds it.

        Raises Overloaded: the message took long, and another one needed its place.
        """
        await self._room(address)
        eviction = asyncio.timeout(None)
        arrival = _Arrival(address, asyncio.get_running_loop().time(), eviction)
        self._arrivals[arrival] = None
        try:
            async with eviction:
                yield
        except TimeoutError:
            if not eviction.expired():
                raise
            raise Overloaded(
                "too many messages arrive at once, and this one took long: send it again",
                limit="grpc_messages",
            ) from None
        finally:
            self._leave(arrival)

    async def _room(self, address: str) -> None:
        loop = asyncio.get_running_loop()
        while (oldest := self._in_the_way(address)) is not None:
            left_s = oldest.began + self._fair_s - loop.time()
            if left_s <= 0:
                self._leave(oldest)
                oldest.eviction.reschedule(loop.time())
                continue
            self._freed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._freed.wait()

    def _in_the_way(self, address: str) -> _Arrival | None:
        """The oldest message that blocks another one from `address`; None if there is room."""
        own = [arrival for arrival in self._arrivals if arrival.address == address]
        if len(own) >= self._most_per_address:
            return own[0]
        return next(iter(self._arrivals)) if len(self._arrivals) >= self._most else None

    def _leave(self, arrival: _Arrival) -> None:
        if arrival in self._arrivals:
            del self._arrivals[arrival]
            self._freed.set()
