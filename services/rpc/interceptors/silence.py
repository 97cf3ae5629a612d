"""How long callers may send nothing of a request that they have begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.core.errors import TimedOut, Unavailable

WHILE_LEAVING_S = 5.0
"""Limit for each message once the service leaves: a caller that sends goes on, a silent one holds nothing up.
The largest image takes so long at 5 MB/s."""


class Silence:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._is_leaving = False
        self._limits: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def ended(self, after_s: float, message: str) -> AsyncIterator[None]:
        """Raises TimedOut with `message` after that time, or Unavailable sooner where the service leaves."""
        limit = asyncio.timeout(min(after_s, WHILE_LEAVING_S) if self._is_leaving else after_s)
        try:
            async with limit:
                self._limits.add(limit)
                yield
        except TimeoutError:
            if self._is_leaving:
                raise Unavailable("the service is stopping: send the whole again") from None
            raise TimedOut(message, reason="SILENCE") from None
        finally:
            self._limits.discard(limit)

    def leave(self) -> None:
        self._is_leaving = True
        latest = asyncio.get_running_loop().time() + WHILE_LEAVING_S
        for limit in self._limits:
            end = limit.when()
            if end is not None and end > latest:
                limit.reschedule(latest)
