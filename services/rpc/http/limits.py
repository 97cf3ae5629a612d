"""How much of a service's HTTP face callers can take up, each and together."""

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
    """A caller is a peer's address: behind a proxy all callers are one."""

    connections: int = 512
    """Open connections without a whole request: idle, or with headers or a body that are half sent."""
    connections_per_caller: int = 256
    requests: int = 512
    """Requests under way, from the end of their upload on."""
    requests_per_caller: int = 256
    upload_mib: int = 512
    """Request bodies in memory."""
    upload_mib_per_caller: int = 256
    headers_s: float = 10.0
    """Longest time until a request's headers are complete."""
    body_s: float = 60.0
    """Longest time from there until its body is complete."""
    write_s: float = 10.0
    """Longest time that a reply waits for a caller who reads nothing."""
    request_s: float = 300.0
    """Longest time until a reply, where the caller sets none."""

    @staticmethod
    def from_environment(env: Environment) -> HttpLimits:
        """HTTP_CONNECTIONS and so on. Raises InvalidInput: a limit that is not above 0."""
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
    """An amount that callers share, of which each may have a part."""

    def __init__(self, name: str, most: int, most_per_caller: int) -> None:
        self._name = name
        self._most = most
        self._most_per_caller = most_per_caller
        self._taken: Counter[str] = Counter()
        self._total = 0

    @property
    def total(self) -> int:
        return self._total

    def require_room(self, caller: str, amount: int = 1) -> None:
        """Raises Overloaded where there is not so much left."""
        if self._total + amount > self._most:
            raise Overloaded(
                f"{self._total:,} of {self._most:,} {self._name} are taken: ask again in a moment"
            )
        if self._taken[caller] + amount > self._most_per_caller:
            raise Overloaded(
                f"your address has {self._taken[caller]:,} of the {self._most_per_caller:,} {self._name} it may have"
            )

    def take(self, caller: str, amount: int = 1) -> None:
        """Raises Overloaded, and takes nothing then."""
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
        """One, for as long as the context lasts. Raises Overloaded."""
        self.take(caller)
        try:
            yield
        finally:
            self.give_back(caller)
