"""Limits of a service's HTTP face, for each caller and in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import Field, dataclass, fields
from typing import Any

from services.core.errors import InvalidInput, Overloaded
from services.environment import Environment


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of callers: of each key, or of each address if the service has no keys."""

    connections: int = 512
    """Most open connections without a complete request: idle, or with half-sent headers or body."""
    connections_per_caller: int = 256
    """Most such connections of one caller."""
    requests: int = 512
    """Most requests under way, counted from the end of their upload."""
    requests_per_caller: int = 256
    """Most requests of one caller under way."""
    upload_mib: int = 512
    """MiB of request bodies in memory."""
    upload_mib_per_caller: int = 256
    """MiB of request bodies of one caller in memory."""
    headers_s: float = 10.0
    """Seconds until a request's headers must be complete."""
    body_s: float = 60.0
    """Seconds from then until its body must be complete."""
    write_s: float = 10.0
    """Seconds that a reply waits for a caller that reads nothing."""
    request_s: float = 300.0
    """Seconds until a reply, if the caller sets no shorter time."""

    @staticmethod
    def from_environment(env: Environment) -> HttpLimits:
        """Reads MPA_*_HTTP_CONNECTIONS and so on. Raises InvalidInput: a limit is 0 or less."""
        limits = HttpLimits(**{field.name: _given(env, field) for field in fields(HttpLimits)})
        for field in fields(HttpLimits):
            value = getattr(limits, field.name)
            if not 0 < value < float("inf"):
                variable = f"{env.prefix}HTTP_{field.name.upper()}"
                raise InvalidInput(f"{variable} is {value:g}: give more than 0", field=variable)
        return limits


def _given(env: Environment, field: Field[Any]) -> Any:
    read: Any = env.integer if isinstance(field.default, int) else env.number
    return read(f"HTTP_{field.name.upper()}", field.default)


class Quota:
    """An amount that callers share, with a limit for each caller."""

    def __init__(self, name: str, most: int, most_per_caller: int) -> None:
        self._name = name
        self._limit = name.replace(" ", "_")
        self._most = most
        self._most_per_caller = most_per_caller
        self._taken: Counter[str] = Counter()
        self._total = 0

    @property
    def total(self) -> int:
        return self._total

    def require_room(self, caller: str, amount: int = 1) -> None:
        """Raises Overloaded if less is left."""
        if self._total + amount > self._most:
            raise Overloaded(
                f"{self._total:,} of {self._most:,} {self._name} are taken: ask again in a moment",
                limit=f"http_{self._limit}",
            )
        if self._taken[caller] + amount > self._most_per_caller:
            raise Overloaded(
                f"you have {self._taken[caller]:,} of the {self._most_per_caller:,} "
                f"{self._name} allowed: wait until one ends",
                limit=f"http_{self._limit}_per_caller",
            )

    def take(self, caller: str, amount: int = 1) -> None:
        """Takes the amount, or takes nothing and raises Overloaded."""
        self.require_room(caller, amount)
        self._taken[caller] += amount
        self._total += amount

    def give_back(self, caller: str, amount: int = 1) -> None:
        self._taken[caller] -= amount
        self._total -= amount
        if not self._taken[caller]:
            del self._taken[caller]

    @contextmanager
    def held(self, caller: str) -> Iterator[None]:
        """Takes one until the context ends. Raises Overloaded."""
        self.take(caller)
        try:
            yield
        finally:
            self.give_back(caller)
