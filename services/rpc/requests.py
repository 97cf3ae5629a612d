"""Messages that arrive on a stream, until somebody ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol, TypeVar

from services.rpc.messages import StreamItem


class RequestItem(StreamItem, Protocol):
    """An item with a request, or without one, to cancel the request of its id."""

    traceparent: str

    @property
    def request(self) -> Any: ...


Request = TypeVar("Request", bound=RequestItem)


class Requests(AsyncIterator[Request]):
    """The messages of a stream, until the client or the service ends it.

    Messages read by then are still answered. The service also ends a stream that received nothing
    for `silence_s` and has nothing under way (`is_idle`).
    """

    def __init__(self, requests: AsyncIterator[Request], silence_s: float) -> None:
        self._requests = requests
        self._silence_s = silence_s
        self._reader: asyncio.Task[Any] | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._has_begun = False
        self._is_ending = False
        self._is_over = False
        self.is_idle: Callable[[], bool] = lambda: False

    async def __anext__(self) -> Request:
        if self._is_over or (self._is_ending and self._has_begun):
            raise StopAsyncIteration
        self._reader = asyncio.current_task()
        self._look_later()
        try:
            message = await anext(self._requests)
        except asyncio.CancelledError:
            if not self._is_over:
                raise
            assert self._reader is not None
            self._reader.uncancel()
            raise StopAsyncIteration from None
        finally:
            if self._silence is not None:
                self._silence.cancel()
            self._reader = None
        self._has_begun = True
        return message

    def end(self, first_s: float) -> None:
        """Ends the stream, at once or, if nothing was received yet, after `first_s` or one message.

        A client that opens a stream for one request has sent it already, or is about to.
        """
        self._is_ending = True
        if self._has_begun:
            self._end()
        else:
            asyncio.get_running_loop().call_later(first_s, self._end)

    def _end(self) -> None:
        self._is_over = True
        if self._reader is not None:
            self._reader.cancel()

    def _look_later(self) -> None:
        self._silence = asyncio.get_running_loop().call_later(self._silence_s, self._look)

    def _look(self) -> None:
        if self.is_idle():
            self._end()
        else:
            self._look_later()
