"""Refusal of work that could not be answered in time, before anything is done for it.

One LoadShedder stands before a service's engine, for all faces that requests come through. From the
requests under way and the pace at which requests have been answered it predicts how long another
one would take. A request that would take longer than its caller waits is refused at once:
computing it would only delay those that can still be answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services.core.errors import InvalidInput, Overloaded
from services.environment import Environment
from services.rpc.pace import ServicePace

MARGIN = 0.8
"""Share of its caller's time that a request may be predicted to take: batches come unevenly."""
FEW = 4
"""Requests under way that are too few to tell a queue from one slow reply."""
QUEUES = 4.0
"""How many times a request's own time it may take where that is more than the longest wait: a service
that answers in half a minute still computes many requests together."""
FIRST = 256
"""Requests under way at most as long as nothing has been answered."""
SHORTEST_RETRY_S, LONGEST_RETRY_S = 0.25, 30.0


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """How much a service takes on."""

    most: int = 1024
    """Requests under way, computed or waiting."""
    longest_wait_s: float = 30.0
    """Longest predicted time of a request, whose caller may have set a shorter one. Not kept by a
    service that takes more than a quarter of it for a single request (QUEUES)."""

    @staticmethod
    def from_environment(env: Environment) -> LoadSettings:
        """From MPA_*_MAX_IN_FLIGHT and MPA_*_LONGEST_WAIT_S. Raises InvalidInput: no room, no time."""
        settings = LoadSettings(
            env.integer("MAX_IN_FLIGHT", 1024), env.number("LONGEST_WAIT_S", 30.0)
        )
        if settings.most < 1:
            variable = f"{env.prefix}MAX_IN_FLIGHT"
            raise InvalidInput(f"{variable} is {settings.most}: give 1 or more", field=variable)
        if not 0 < settings.longest_wait_s < float("inf"):
            variable, given = f"{env.prefix}LONGEST_WAIT_S", settings.longest_wait_s
            raise InvalidInput(f"{variable} is {given:g}: give more than 0 seconds", field=variable)
        return settings


DEFAULT = LoadSettings()


class LoadShedder:
    """Admits the requests of one service. Belongs to one event loop."""

    def __init__(
        self, settings: LoadSettings = DEFAULT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._pace = ServicePace(clock())

    @property
    def in_flight(self) -> int:
        """Requests admitted and not done."""
        return self._pace.in_flight

    @contextmanager
    def admit(self, time_left_s: float | None = None) -> Iterator[None]:
        """Room for one request, whose caller waits `time_left_s` (None: no deadline).

        Raises Overloaded. A request that fails or is cancelled gives its room back at once, and
        tells nothing of the pace.
        """
        self.require_room(time_left_s)
        began = self._clock()
        was_idle = self._pace.enter(began)
        try:
            yield
        except BaseException:
            self._pace.given_up(self._clock())
            raise
        ended = self._clock()
        self._pace.answered(ended, ended - began, was_idle=was_idle)

    def require_room(self, time_left_s: float | None = None) -> None:
        """Raises Overloaded where `admit` would: for a face that has not read the request yet."""
        wait_s = self._pace.wait_s
        longest_s = max(self._settings.longest_wait_s, QUEUES * self._pace.alone_s)
        most = self._settings.most if wait_s is not None else min(FIRST, self._settings.most)
        under_way = f"{self.in_flight} requests are under way"
        if self.in_flight >= most:
            raise Overloaded(
                f"{under_way}, as many as this service takes: ask again later",
                retry_after_s=_retry_after_s((wait_s or 0.0) / 2),
            )
        patience_s = longest_s if time_left_s is None else min(time_left_s, longest_s)
        if wait_s is not None and wait_s > MARGIN * patience_s and self.in_flight >= FEW:
            raise Overloaded(
                f"{under_way}: another one would be answered in about {wait_s:.1f} s, too late for "
                f"one that waits {patience_s:.1f} s: ask again later",
                retry_after_s=_retry_after_s(wait_s - MARGIN * patience_s),
            )


def _retry_after_s(seconds: float) -> float:
    return min(max(seconds, SHORTEST_RETRY_S), LONGEST_RETRY_S)
