"""Calls of a client with a single reply, which carry its current span to the service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services import tracing


class TracedCalls:
    """A channel whose calls name their span. Items of bidirectional streams have a field for it."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.unary_stream = channel.unary_stream
        self.stream_stream = channel.stream_stream

    def unary_unary(self, *method: Any, **how: Any) -> Callable[..., Any]:
        return _traced(self._channel.unary_unary(*method, **how))

    def stream_unary(self, *method: Any, **how: Any) -> Callable[..., Any]:
        return _traced(self._channel.stream_unary(*method, **how))


def _traced(call: Callable[..., Any]) -> Callable[..., Any]:
    def traced(*request: Any, metadata: Any = (), **how: Any) -> Any:
        headers = tracing.headers() or {}
        return call(*request, metadata=(*(metadata or ()), *headers.items()), **how)

    return traced
