"""Single calls of a client, which carry its current span to the service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services import tracing


class TracedCalls:
    """A channel whose single calls name their span. Items of streams have a field for it."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.unary_stream = channel.unary_stream
        self.stream_unary = channel.stream_unary
        self.stream_stream = channel.stream_stream

    def unary_unary(self, *method: Any, **how: Any) -> Callable[..., Any]:
        call = self._channel.unary_unary(*method, **how)

        def traced(*request: Any, metadata: Any = (), **how: Any) -> Any:
            headers = tracing.headers() or {}
            return call(*request, metadata=(*(metadata or ()), *headers.items()), **how)

        return traced
