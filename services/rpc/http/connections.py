"""Bounded connections without a request: the one that waits longest makes room for the next."""

from __future__ import annotations

from typing import Protocol


class Evictable(Protocol):
    def evict(self) -> None:
        """Ends the connection."""


class WaitingConnections:
    """Waiting connections in the order of their arrival, in all and for each caller.

    A new connection is always accepted, because only its request shows whether it is worth more
    than the others: thousands of half-sent headers push out each other and no complete request.
    """

    def __init__(self, most: int, most_per_caller: int) -> None:
        self._most = most
        self._most_per_caller = most_per_caller
        self._callers: dict[Evictable, str] = {}
        self._of_caller: dict[str, dict[Evictable, None]] = {}

    def __len__(self) -> int:
        return len(self._callers)

    def add(self, connection: Evictable, caller: str) -> None:
        """Adds a connection and evicts the oldest one if the caller, or all, have too many."""
        self.discard(connection)
        self._callers[connection] = caller
        of_caller = self._of_caller.setdefault(caller, {})
        of_caller[connection] = None
        if len(of_caller) > self._most_per_caller:
            self._evict(next(iter(of_caller)))
        elif len(self._callers) > self._most:
            self._evict(next(iter(self._callers)))

    def discard(self, connection: Evictable) -> None:
        caller = self._callers.pop(connection, None)
        if caller is not None:
            del self._of_caller[caller][connection]
            if not self._of_caller[caller]:
                del self._of_caller[caller]

    def _evict(self, connection: Evictable) -> None:
        self.discard(connection)
        connection.evict()
