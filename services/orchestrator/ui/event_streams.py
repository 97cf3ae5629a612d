"""Streams of events: their number is bounded, and each leaves its place at its end."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from services.core.errors import Overloaded
from services.orchestrator.ui.live_run import REST
from services.orchestrator.ui.rendering import NOT_KEPT

MOST_STREAMS = REST
"""Most streams of events at once: together their looks take one thread of the views."""
RETRY_S = 30.0


class EventStreams:
    """Places for streams of events, and the responses that take them."""

    def __init__(self) -> None:
        self._open = 0
        self._lock = threading.Lock()

    def response(self, events: AsyncIterator[str]) -> StreamingResponse:
        """A response that has a place until it ends. Raises Overloaded if there is none."""
        with self._lock:
            if self._open >= MOST_STREAMS:
                raise Overloaded(
                    f"{MOST_STREAMS} pages of runs at work are renewed at once, which is the most: "
                    "load the page again to renew it, or close others",
                    retry_after_s=RETRY_S,
                    limit="event_streams",
                )
            self._open += 1
        return _EventStream(events, self._leave)

    def _leave(self) -> None:
        with self._lock:
            self._open -= 1


class _EventStream(StreamingResponse):
    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], leave: Callable[[], None]) -> None:
        super().__init__(events, headers=NOT_KEPT)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # also if the reader has gone
            self._leave()
