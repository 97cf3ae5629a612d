"""How many calls an endpoint is given at a time: as many as it takes, which only trying can tell.

As TCP finds the width of a path: doubled each round up to the first sign of trouble, then one more each round, and down to
BACK_OFF of itself at each further sign. A round is as many calls as the limit. Signs of trouble: a call refused
(RESOURCE_EXHAUSTED) or out of time, and a round that took SLOW times as long as rounds lately did. Latency that merely grows
with the load is none: engines that batch answer slower and far more.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

FIRST = 16
BACK_OFF = 0.75
SLOW = 2.5
UNREMARKABLE_S = 0.1
"""Calls shorter than that are never slow: at such lengths latency tells of this machine, not of the service."""


class Concurrency:
    """Between 1 and `most` places; those who wait for one get it in the order they came."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(min(FIRST, most))
        self._in_use = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_doubling = True
        self._cut_at = 0.0
        self._usual_s = 0.0
        self._was_full = False
        self._begin_round()

    @property
    def limit(self) -> int:
        return int(self._limit)

    async def __aenter__(self) -> None:
        if self._in_use < self.limit and not self._waiting:
            self._in_use += 1
            self._was_full = self._was_full or self._in_use >= self.limit
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._in_use -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._in_use < self.limit:
            place = self._waiting.popleft()
            if not place.done():
                self._in_use += 1
                place.set_result(None)

    def answered(self, seconds: float) -> None:
        """A call was answered in that time."""
        self._calls += 1
        self._seconds += seconds
        if self._calls >= self.limit:
            self._end_round(self._seconds / self._calls)

    def refused(self, began_at: float) -> None:
        """A call begun then (monotonic) found no room, or no time. Counts once for all calls that were under way together."""
        if began_at >= self._cut_at:
            self._cut()

    def _end_round(self, mean_s: float) -> None:
        if self._usual_s and mean_s > max(UNREMARKABLE_S, SLOW * self._usual_s):
            self._cut()
        elif self._was_full:
            self._limit = min(self._most, self._limit * 2 if self._is_doubling else self._limit + 1)
        self._usual_s = (self._usual_s + mean_s) / 2 if self._usual_s else mean_s
        self._begin_round()
        self._admit()

    def _cut(self) -> None:
        self._limit = max(1.0, self._limit * BACK_OFF)
        self._is_doubling = False
        self._cut_at = time.monotonic()
        self._begin_round()

    def _begin_round(self) -> None:
        self._calls, self._seconds = 0, 0.0
        self._was_full = self._in_use >= self.limit
