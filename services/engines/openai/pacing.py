"""A pace within a provider's limits: requests and tokens a minute, pauses for all after a 429."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from services.core.errors import Overloaded

BURST_S = 1.0
LONGEST_WAIT_S = 60.0
"""Callers who would wait longer are refused: no deadline must pass in a queue."""
COME_BACK_S = 15.0


class RequestRate:
    """At most `per_minute` units a minute (0: no limit), with bursts of BURST_S seconds' worth.

    Callers get their places at once (virtual scheduling), in the order of their requests.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds_per_unit = 60.0 / per_minute if per_minute else 0.0
        self._paid_until = 0.0
        self._clock = clock

    def wait_s(self) -> float:
        """Seconds that a caller would wait now."""
        return max(0.0, self._paid_until - self._clock()) if self._seconds_per_unit else 0.0

    def take(self, amount: float) -> None:
        """Takes units; a negative amount gives them back."""
        since = max(self._paid_until, self._clock() - BURST_S)
        self._paid_until = since + amount * self._seconds_per_unit


class Pace:
    """Start times for requests. A pause applies to all, whichever of them got the 429."""

    def __init__(
        self, requests_per_minute: float, tokens_per_minute: float, max_concurrent: int
    ) -> None:
        self._requests = RequestRate(requests_per_minute)
        self._tokens = RequestRate(tokens_per_minute)
        self._resume_at = 0.0
        self._slots = asyncio.Semaphore(max_concurrent)

    def pause(self, seconds: float) -> None:
        self._resume_at = max(self._resume_at, time.monotonic() + seconds)

    def settle(self, estimated: int, actual: int) -> None:
        """Corrects the estimate by the tokens of the reply."""
        self._tokens.take(actual - estimated)

    async def __aenter__(self) -> None:
        await self._slots.acquire()
        try:
            while (left := self._resume_at - time.monotonic()) > 0:
                _refuse_long(left)
                # All in the same instant would cause the next 429.
                await asyncio.sleep(left + random.uniform(0, min(1.0, left / 4)))
        except BaseException:
            self._slots.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._slots.release()

    async def turn(self, tokens: int) -> None:
        """Waits until a request of `tokens` is within the limits. Raises Overloaded: too long."""
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
            limit="provider_rate",
        )


def retry_after_s(headers: httpx.Headers) -> float | None:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (seconds or a date); None without."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    try:
        at = parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError, TypeError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
