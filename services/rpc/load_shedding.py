"""Early refusal of requests that could not be answered in time.

One LoadShedder guards a service's engine on all its faces. From the requests under way and the pace
of recent answers it predicts the duration of another request. A request that would take longer than
its caller waits is refused at once: computing it would only delay other requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services.core.errors import InvalidInput, Overloaded
from services.environment import Environment
from services.rpc.access.caller import the_caller
from services.rpc.pace import ServicePace

MARGIN = 0.8
"""Largest predicted duration, as a share of the caller's time: batches are irregular."""
FEW = 4
"""With fewer requests under way, a queue looks like one slow reply."""
QUEUES = 4.0
"""Largest predicted duration, as a multiple of a single request's time, if that is longer than the
longest wait: a service that answers in half a minute still computes many requests together."""
FIRST = 256
"""Most requests under way before the first answers, the service's pace being unknown."""
MOST_PER_COPY = 1024
"""Most requests under way for each copy of the model, unless MAX_IN_FLIGHT is set."""
SHORTEST_RETRY_S, LONGEST_RETRY_S = 0.25, 30.0


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """Amount of work that a service accepts."""

    most: int = MOST_PER_COPY
    """Most requests under way, computed or waiting."""
    longest_wait_s: float = 30.0
    """Longest predicted duration of a request in seconds, if its caller sets no shorter one. A
    service that needs more than a quarter of it for a single request exceeds it (QUEUES)."""

    @staticmethod
    def from_environment(env: Environment) -> LoadSettings:
        """Reads MPA_*_MAX_IN_FLIGHT and MPA_*_LONGEST_WAIT_S. Raises InvalidInput."""
        settings = LoadSettings(
            env.integer("MAX_IN_FLIGHT", MOST_PER_COPY * env.integer("DATA_PARALLEL", 1)),
            env.number("LONGEST_WAIT_S", 30.0),
        )
        if settings.most < 1:
            variable = f"{env.prefix}MAX_IN_FLIGHT"
            raise InvalidInput(f"{variable} is {settings.most}: give 1 or more", field=variable)
        if not 0 < settings.longest_wait_s < float("inf"):
            variable = f"{env.prefix}LONGEST_WAIT_S"
            raise InvalidInput(
                f"{variable} is {settings.longest_wait_s:g}: give more than 0 seconds",
                field=variable,
            )
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
    def most(self) -> int:
        """Most requests that are admitted at once."""
        return self._settings.most

    @property
    def in_flight(self) -> int:
        """Number of requests that are admitted and not done."""
        return self._pace.in_flight

    @contextmanager
    def admit(self, time_left_s: float | None = None) -> Iterator[None]:
        """Holds room for one request whose caller waits `time_left_s` (None: no deadline).

        It also counts for the limits of the caller's key. Raises Overloaded. A request that fails
        or is cancelled frees its room at once and does not count for the pace.
        """
        self.require_room(time_left_s)
        with the_caller().allowance.request():
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
        """Raises Overloaded like `admit`, before the request itself is read."""
        wait_s = self._pace.wait_s
        longest_s = max(self._settings.longest_wait_s, QUEUES * self._pace.alone_s)
        most = self._settings.most if wait_s is not None else min(FIRST, self._settings.most)
        under_way = f"{self.in_flight} requests are under way"
        if self.in_flight >= most:
            raise Overloaded(
                f"{under_way}, the most this service accepts: ask again later",
                retry_after_s=_retry_after_s((wait_s or 0.0) / 2),
                limit="requests_in_flight",
            )
        patience_s = longest_s if time_left_s is None else min(time_left_s, longest_s)
        if wait_s is not None and wait_s > MARGIN * patience_s and self.in_flight >= FEW:
            raise Overloaded(
                f"{under_way}: another one would be answered in about {wait_s:.1f} s, too late for "
                f"a caller that waits {patience_s:.1f} s: ask again later",
                retry_after_s=_retry_after_s(wait_s - MARGIN * patience_s),
                limit="predicted_wait",
            )


def _retry_after_s(seconds: float) -> float:
    return min(max(seconds, SHORTEST_RETRY_S), LONGEST_RETRY_S)
