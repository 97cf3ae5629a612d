"""Limits of one key: rates, and requests at the same time.

A rate is a reservoir of one minute's amount that refills all the time. What a request takes is
known only when it is read, so a reservoir may fall below zero; then the next request waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

from services.core.errors import InvalidInput, Overloaded
from services.environment import Environment
from services.rpc.access.keys import KeyLimits

_MINUTE_S = 60.0
SHORTEST_RETRY_S = 0.25


def default_limits(env: Environment) -> KeyLimits:
    """Limits of keys without their own: MPA_*_KEY_REQUESTS_PER_MINUTE and so on; 0 is none.

    Raises InvalidInput: a limit below 0.
    """
    found = {}
    for each in fields(KeyLimits):
        variable = f"KEY_{each.name.upper()}"
        found[each.name] = env.integer(variable, 0)
        if found[each.name] < 0:
            raise InvalidInput(
                f"{env.prefix}{variable} is {found[each.name]}: give 0 or more",
                field=env.prefix + variable,
            )
    return KeyLimits(**found)


def effective(own: KeyLimits, default: KeyLimits) -> KeyLimits:
    """The limits of a key, with the defaults for those that it has not."""
    missing = {
        each.name: getattr(default, each.name)
        for each in fields(KeyLimits)
        if not getattr(own, each.name)
    }
    return replace(own, **missing)


class Reservoir:
    """An amount per minute; 0 is no limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute)
        self._at = clock()

    @property
    def wait_s(self) -> float:
        """Seconds until something may be taken."""
        if not self._per_minute:
            return 0.0
        now = self._clock()
        gained = (now - self._at) * self._per_minute / _MINUTE_S
        self._level = min(float(self._per_minute), self._level + gained)
        self._at = now
        missing = min(1.0, self._per_minute) - self._level
        return max(0.0, missing * _MINUTE_S / self._per_minute)

    def take(self, amount: int) -> None:
        self._level -= amount


class Allowance:
    """Limits of one key and what it has left. Belongs to one event loop."""

    def __init__(
        self, limits: KeyLimits | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = limits or KeyLimits()
        self._rates = {
            "requests": Reservoir(self.limits.requests_per_minute, clock),
            "bytes": Reservoir(self.limits.bytes_per_minute, clock),
            "pixels": Reservoir(self.limits.pixels_per_minute, clock),
        }
        self._under_way = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts one request. Raises Overloaded: a limit of the key is reached."""
        most = self.limits.concurrent
        if most and self._under_way >= most:
            raise Overloaded(
                f"your key has {self._under_way} requests under way, the most allowed: "
                "wait until one ends",
                limit="key_concurrent",
            )
        for name, rate in self._rates.items():
            if wait_s := rate.wait_s:
                allowed = getattr(self.limits, f"{name}_per_minute")
                raise Overloaded(
                    f"your key has used its {allowed:,} {name} per minute: "
                    f"ask again in {wait_s:.1f} s",
                    retry_after_s=max(wait_s, SHORTEST_RETRY_S),
                    limit=f"key_{name}_per_minute",
                )
        self._rates["requests"].take(1)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def spend(self, size_bytes: int, pixels: int) -> None:
        """Counts an image of a request."""
        self._rates["bytes"].take(size_bytes)
        self._rates["pixels"].take(pixels)


UNLIMITED = Allowance()
