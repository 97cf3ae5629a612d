"""Time limits for callers that pause within a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.core.errors import TimedOut, Unavailable

WHILE_LEAVING_S = 5.0
"""Limit for each message in shutdown: a caller that sends continues, a silent one delays nothing.
The largest image takes this long at 5 MB/s."""


class Silence:
    """Time limits on one event loop, which a shutdown shortens to `leaving_s`."""

    def __init__(self, leaving_s: float) -> None:
        self._leaving_s = leaving_s
        self.is_leaving = False
        self._limits: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def ended(self, after_s: float, message: str) -> AsyncIterator[None]:
        """Raises TimedOut with `message` after that time, or Unavailable in a shutdown."""
        limit = asyncio.timeout(min(after_s, self._leaving_s) if self.is_leaving else after_s)
        try:
            async with limit:
                self._limits.add(limit)
                yield
        except TimeoutError:
            if self.is_leaving:
                raise Unavailable("the service is stopping: send it all again") from None
            raise TimedOut(message, reason="SILENCE") from None
        finally:
            self._limits.discard(limit)

    def leave(self) -> None:
        self.is_leaving = True
        latest = asyncio.get_running_loop().time() + self._leaving_s
        for limit in self._limits:
            end = limit.when()
            if end is not None and end > latest:
                limit.reschedule(latest)
