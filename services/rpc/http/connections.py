"""Connections without a request: their number is bounded, and the one that waits longest makes room for the next."""

from __future__ import annotations

from typing import Protocol


class Evictable(Protocol):
    def evict(self) -> None:
        """Ends the connection."""


class WaitingConnections:
    """Waiting connections in the order in which they began to wait, together and for each caller.

    A new connection is always let in, since only its request can tell whether it is worth more than those that wait:
    thousands of half-sent headers push out each other, not a caller who sends the whole of it.
    """

    def __init__(self, most: int, most_per_caller: int) -> None:
        self._most = most
        self._most_per_caller = most_per_caller
        self._callers: dict[Evictable, str] = {}
        self._of_caller: dict[str, dict[Evictable, None]] = {}

    def __len__(self) -> int:
        return len(self._callers)

    def add(self, connection: Evictable, caller: str) -> None:
        """Evicts the longest waiting one of this caller, or of all, where there are too many."""
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
