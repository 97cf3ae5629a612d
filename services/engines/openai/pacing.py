"""Keeping to a provider's limits: requests and tokens a minute, and a pause for all after it said 429."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from services.core.errors import Overloaded

BURST_S = 1.0
LONGEST_WAIT_S = 60.0
"""Who would wait longer is told to come back: a caller's deadline must not pass while its request only stands in line."""
COME_BACK_S = 15.0


class RequestRate:
    """At most `per_minute` units a minute, spread evenly, with bursts of BURST_S seconds' worth; 0 is no limit.

    Each caller is given its place at once (virtual scheduling), so they go in the order they came.
    """

    def __init__(self, per_minute: float) -> None:
        self._seconds_per_unit = 60.0 / per_minute if per_minute else 0.0
        self._paid_until = 0.0

    def wait_s(self) -> float:
        """How long who comes now would wait."""
        return max(0.0, self._paid_until - time.monotonic()) if self._seconds_per_unit else 0.0

    def take(self, amount: float) -> None:
        """Less than 0 gives back what was taken too much."""
        now = time.monotonic()
        self._paid_until = max(self._paid_until, now - BURST_S) + amount * self._seconds_per_unit


class Pace:
    """Who may send when. A pause holds for every request, whichever of them was told to slow down."""

    def __init__(
        self, requests_per_minute: float, tokens_per_minute: float, max_concurrent: int
    ) -> None:
        self._requests, self._tokens = (
            RequestRate(requests_per_minute),
            RequestRate(tokens_per_minute),
        )
        self._resume_at = 0.0
        self._slots = asyncio.Semaphore(max_concurrent)

    def pause(self, seconds: float) -> None:
        self._resume_at = max(self._resume_at, time.monotonic() + seconds)

    def settle(self, estimated: int, actual: int) -> None:
        """After a reply has said what it took."""
        self._tokens.take(actual - estimated)

    async def __aenter__(self) -> None:
        await self._slots.acquire()
        try:
            while (left := self._resume_at - time.monotonic()) > 0:
                _refuse_long(left)
                # Not all in the same instant: that is how the next 429 comes about.
                await asyncio.sleep(left + random.uniform(0, min(1.0, left / 4)))
        except BaseException:
            self._slots.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._slots.release()

    async def turn(self, tokens: int) -> None:
        """Waits until a request of `tokens` is within the limits. Raises Overloaded: that is too far off."""
        wait_s = max(self._requests.wait_s(), self._tokens.wait_s())
        _refuse_long(max(wait_s, self._resume_at - time.monotonic()))
        self._requests.take(1)
        self._tokens.take(tokens)
        try:
            await asyncio.sleep(wait_s)
        except BaseException:
            self._requests.take(-1)
            self._tokens.take(-tokens)
            raise


def _refuse_long(wait_s: float) -> None:
    if wait_s > LONGEST_WAIT_S:
        raise Overloaded(
            f"the provider's rate limit is used up for the next {wait_s:.0f} s",
            retry_after_s=min(wait_s, COME_BACK_S),
        )


def retry_after_s(headers: httpx.Headers) -> float | None:
    """What `retry-after-ms` or `Retry-After` (seconds or a date) asks for; None where neither does."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    try:
        at = parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError, TypeError):
        return None
    return max(
        0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    )
