"""Pace of a service: the predicted duration of the next request.

It averages two numbers over the recent busy time, in which older time fades: the requests under
way, and the requests answered per second. Their ratio is the recent duration of requests (Little's
law). One part of it is the time of the request itself, which a request to an idle service shows.
The rest was spent waiting and grows in proportion to the requests under way. An engine that was not
busy may take more requests at no cost, and only a trial shows it. Therefore the prediction assumes
at most LEAP times the number of requests seen so far; a queue that grows is noticed within seconds.
"""

from __future__ import annotations

import math

LEAP = 2.0
RECENT = 0.3
"""Weight of the latest request to an idle service."""
WARM = 0.5
"""A request that takes less than this share of the shortest time makes earlier ones irrelevant."""
MEMORY, SHORTEST_MEMORY_S = 2.0, 4.0
"""How long a time counts: twice the time of a single request, but at least four seconds."""
LONGEST_FIRST_S = 4.0
"""Longest time after the first answer without a prediction: others of its batch follow it."""


class ServicePace:
    """Counts requests as they enter and leave, in O(1). Times are seconds of one clock."""

    def __init__(self, now: float) -> None:
        self.in_flight = 0
        self._at = now
        self._alone_s: float | None = None
        self._known_from: float | None = None
        self._busy_s = self._request_s = self._answered = 0.0
        self._new_busy_s = self._new_request_s = 0.0
        """Times since the last answer: an engine that batches is measured from batch to batch."""

    def enter(self, now: float) -> bool:
        """Returns whether the service was idle."""
        self._pass_time(now)
        self.in_flight += 1
        return self.in_flight == 1

    def answered(self, now: float, seconds: float, *, was_idle: bool) -> None:
        """Counts an answer after `seconds` to a request that met an idle service, or a busy one."""
        self.given_up(now)
        if self._known_from is None:
            self._known_from = now + min(seconds, LONGEST_FIRST_S)
        memory_s = max(SHORTEST_MEMORY_S, MEMORY * self.alone_s)
        # Before an answer that is by far the fastest, the engine was still warming up.
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
        """Counts out a request that was not answered; it does not change the pace."""
        self._pass_time(now)
        self.in_flight -= 1

    @property
    def alone_s(self) -> float:
        """Seconds that a single request takes; 0 before the first answer."""
        return self._alone_s or 0.0

    @property
    def wait_s(self) -> float | None:
        """Seconds until another request would be answered; None before the first answers."""
        if not self._busy_s or self._known_from is None or self._at < self._known_from:
            return None
        usual_s = self._request_s / self._answered
        own_s = min(self.alone_s, usual_s)
        growth = (self.in_flight + 1) / (self._request_s / self._busy_s)
        return own_s + (usual_s - own_s) * min(growth, LEAP)

    def _pass_time(self, now: float) -> None:
        """Adds busy time; idle time neither counts nor makes older time fade."""
        if self.in_flight:
            self._new_busy_s += now - self._at
            self._new_request_s += (now - self._at) * self.in_flight
        self._at = now
