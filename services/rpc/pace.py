"""The pace of a service: how long the next request would take, from those under way and those that have been answered.

Averages over the recent busy time, older time fading: the requests under way, and those answered
per second. Their ratio is the time that requests have been taking (Little's law). A part of it is
the request's own, as one that comes to an idle service shows; the rest was spent waiting, and grows
in proportion to the requests under way. An engine that was not busy may take more of them at no
cost, which only trying can tell: therefore no wait is predicted beyond LEAP times the number that
was seen, and a queue that does grow is seen within the next seconds.
"""

from __future__ import annotations

import math

LEAP = 2.0
RECENT = 0.3
"""Weight of the latest request that came to an idle service."""
WARM = 0.5
"""Share of the shortest time that a request has taken, below which the earlier ones tell nothing."""
MEMORY, SHORTEST_MEMORY_S = 2.0, 4.0
"""How long a time counts: twice what a request takes alone, but at least four seconds."""


class ServicePace:
    """Counts what enters and leaves; times are seconds of any one clock. Every operation is O(1)."""

    def __init__(self, now: float) -> None:
        self.in_flight = 0
        self._at = now
        self._alone_s: float | None = None
        self._busy_s = self._request_s = self._answered = 0.0
        self._new_busy_s = self._new_request_s = 0.0
        """Times since the last answer: an engine that batches is measured from batch to batch."""

    def enter(self, now: float) -> bool:
        """Returns whether the service was idle."""
        self._pass_time(now)
        self.in_flight += 1
        return self.in_flight == 1

    def answered(self, now: float, seconds: float, *, was_idle: bool) -> None:
        """A request leaves that was answered after `seconds`, having come to an idle service or not."""
        self.given_up(now)
        memory_s = max(SHORTEST_MEMORY_S, MEMORY * self.alone_s)
        # What came before the fastest answer by far was of an engine that was still warming up.
        is_warm_now = seconds < WARM * self.alone_s
        fade = 0.0 if is_warm_now else math.exp(-self._new_busy_s / memory_s)
        self._busy_s = self._busy_s * fade + self._new_busy_s
        self._request_s = self._request_s * fade + self._new_request_s
        self._answered = self._answered * fade + 1
        self._new_busy_s = self._new_request_s = 0.0
        if self._alone_s is None or seconds < self._alone_s:
            self._alone_s = seconds
        elif was_idle:
            self._alone_s += RECENT * (seconds - self._alone_s)

    def given_up(self, now: float) -> None:
        """A request leaves that was not answered, and tells nothing of the pace."""
        self._pass_time(now)
        self.in_flight -= 1

    @property
    def alone_s(self) -> float:
        """Seconds that a request takes by itself; 0 before the first answer."""
        return self._alone_s or 0.0

    @property
    def wait_s(self) -> float | None:
        """Seconds until one more request would be answered; None before the first answer."""
        if not self._busy_s:
            return None
        usual_s = self._request_s / self._answered
        own_s = min(self.alone_s, usual_s)
        growth = (self.in_flight + 1) / (self._request_s / self._busy_s)
        return own_s + (usual_s - own_s) * min(growth, LEAP)

    def _pass_time(self, now: float) -> None:
        """Idle time does not count, and makes nothing fade."""
        if self.in_flight:
            self._new_busy_s += now - self._at
            self._new_request_s += (now - self._at) * self.in_flight
        self._at = now
