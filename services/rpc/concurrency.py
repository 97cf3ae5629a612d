"""Number of simultaneous calls to an endpoint, found by trial as TCP finds its congestion window.

The limit doubles each round up to the first sign of trouble. After that it grows by one each round
and falls to BACK_OFF of itself at each further sign. A round is as many calls as the limit. Signs
of trouble: a call that is refused (RESOURCE_EXHAUSTED) or out of time, and a round that took SLOW
times as long as recent rounds. Latency that grows with the load is no sign: engines that batch
answer each call slower but many more of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

FIRST = 16
BACK_OFF = 0.75
SLOW = 2.5
UNREMARKABLE_S = 0.1
"""Calls shorter than this never count as slow: they measure this machine, not the service."""


class Concurrency:
    """Between 1 and `most` places, given to waiting callers in the order of their arrival.

    `most` may change.
    """

    def __init__(self, most: int) -> None:
        self.most = most
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
        return min(int(self._limit), self.most)

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
        """Counts a call that was answered after `seconds`."""
        self._calls += 1
        self._seconds += seconds
        if self._calls >= self.limit:
            self._end_round(self._seconds / self._calls)

    def refused(self, began_at: float) -> None:
        """Counts a call begun at that monotonic time that found no room, or no time.

        Calls that were under way together count once.
        """
        if began_at >= self._cut_at:
            self._cut()

    def _end_round(self, mean_s: float) -> None:
        if self._usual_s and mean_s > max(UNREMARKABLE_S, SLOW * self._usual_s):
            self._cut()
        elif self._was_full:
            self._limit = min(self.most, self._limit * 2 if self._is_doubling else self._limit + 1)
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
