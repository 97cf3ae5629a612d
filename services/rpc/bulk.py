"""Client side of a bidirectional stream, whose requests look like calls with their own deadlines.

A message on a stream costs a third of a unary call, and simultaneous requests share one message
(messages.py). The number of streams follows the number of calls under way. A stream that breaks
fails only its unanswered requests; a retry uses another stream. Streams are replaced regularly, so
that a service which is behind a proxy with others gets its share.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import grpc

from services import tracing
from services.core.errors import MpaError, Unavailable
from services.rpc import status
from services.rpc.messages import apart, fill

ITEMS_PER_STREAM = 16
MOST_STREAMS = 128
"""Streams for which a service has room on one connection."""
STREAM_LIFE_S = 60.0
SWEEP_EVERY_S = 0.5
LINGER_S = 1.0
"""How long a cancelled call still waits, so that a run that stops keeps almost finished answers."""
OUT_OF_TIME = "DEADLINE_EXCEEDED"
"""Reason of the Unavailable that is raised for a call without an answer in time."""

Request = TypeVar("Request")
Response = TypeVar("Response")
Open = Callable[[], "grpc.aio.StreamStreamCall[Any, Any]"]


class Bulk(Generic[Request, Response]):
    """Many requests over few streams.

    `item`: the message that carries a request under an id, or, without one, cancels that id.
    """

    def __init__(
        self, open_stream: Open, item: Callable[..., Any], timeout_s: float, address: str
    ) -> None:
        self._open = open_stream
        self._item = item
        self._timeout_s = timeout_s
        self._address = address
        self._streams: deque[_Stream] = deque()
        self._ids = itertools.count()

    async def ask(self, request: Request) -> Response:
        """Raises the MpaError of the status, or Unavailable if the stream broke or time ran out."""
        stream = self._stream()
        key = str(next(self._ids))
        parent = tracing.traceparent()
        item = self._item(id=key, request=request, traceparent=parent)
        answer: asyncio.Future[Response] = stream.send(key, item)
        try:
            await answer
        except TimeoutError:
            stream.forget(key, self._item(id=key))
            raise Unavailable(
                f"{self._address} did not answer in time", reason=OUT_OF_TIME
            ) from None
        except asyncio.CancelledError:
            answer = stream.expect_again(key, answer)
            try:
                await asyncio.wait((answer,), timeout=LINGER_S)
            finally:
                stream.forget(key, self._item(id=key))
            if not _is_answered(answer):
                raise
            _cancel_later()
        return answer.result()

    def _stream(self) -> _Stream:
        """The stream whose next message still waits, else the next with room, else a new one."""
        if self._streams and self._streams[-1].is_filling:
            return self._streams[-1]
        for _ in range(len(self._streams)):
            stream = self._streams.popleft()
            if not stream.is_open:
                continue
            self._streams.append(stream)
            if stream.has_room:
                return stream
        self._streams.append(_Stream(self._open(), self._timeout_s, self._address))
        return self._streams[-1]

    async def close(self) -> None:
        """Ends the streams properly, so that the service also cancels abandoned requests."""
        ending = [stream.end() for stream in self._streams if stream.is_open]
        if ending:
            await asyncio.wait(ending, timeout=LINGER_S)
        for stream in self._streams:
            stream.close(Unavailable("the client was closed"))


def _is_answered(answer: asyncio.Future[Any]) -> bool:
    return answer.done() and not answer.cancelled() and answer.exception() is None


def _cancel_later() -> None:
    """Cancels this task at its next wait, after it has recorded its late answer."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


class _Stream:
    """One bidirectional call and its unanswered requests, oldest first."""

    def __init__(
        self, call: grpc.aio.StreamStreamCall[Any, Any], timeout_s: float, address: str
    ) -> None:
        self._call = call
        self._timeout_s = timeout_s
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._unanswered: dict[str, tuple[asyncio.Future[Any], float]] = {}
        self._outbox: asyncio.Queue[Any] = asyncio.Queue()
        self._retires_at = self._loop.time() + STREAM_LIFE_S
        self.is_open = True
        self._takes_more = False
        self._writing = self._loop.create_task(self._write())
        self._reading = self._loop.create_task(self._read())
        self._sweeping = self._loop.call_later(SWEEP_EVERY_S, self._sweep)

    @property
    def has_room(self) -> bool:
        return len(self._unanswered) < ITEMS_PER_STREAM

    @property
    def is_filling(self) -> bool:
        return self.is_open and self.has_room and not self._outbox.empty()

    def send(self, key: str, item: object) -> asyncio.Future[Any]:
        answer = self._loop.create_future()
        self._unanswered[key] = answer, self._loop.time() + self._timeout_s
        self._outbox.put_nowait(item)
        return answer

    def expect_again(self, key: str, answer: asyncio.Future[Any]) -> asyncio.Future[Any]:
        """A new future for the answer if `answer` was cancelled together with its task."""
        if answer.cancelled() and key in self._unanswered:
            answer = self._loop.create_future()
            self._unanswered[key] = answer, self._unanswered[key][1]
        return answer

    def forget(self, key: str, item: object) -> None:
        if self._unanswered.pop(key, None) is not None:
            self._outbox.put_nowait(item)

    async def _write(self) -> None:
        try:
            while (message := await self._outbox.get()) is not None:
                message.takes_more = True
                if self._takes_more:
                    fill(message, self._outbox)
                await self._call.write(message)
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # _read meets it, too, together with the status

    async def _read(self) -> None:
        error: MpaError = Unavailable(f"{self._address} ended the stream")
        try:
            while (message := await self._call.read()) is not grpc.aio.EOF:
                self._takes_more = message.takes_more
                for item in apart(message):
                    self._settle(item)
        except grpc.aio.AioRpcError as broken:
            error = status.from_rpc_error(broken, self._address)
        finally:
            self.close(error)

    def _settle(self, item: Any) -> None:
        answer, _ = self._unanswered.pop(item.id, (None, 0.0))
        if answer is None or answer.done():
            return
        if item.HasField("error"):
            answer.set_exception(status.from_status(item.error))
        else:
            answer.set_result(item.response)

    def _sweep(self) -> None:
        """Ends overdue requests with TimeoutError, and an old stream when it is idle."""
        now = self._loop.time()
        for answer, deadline in self._unanswered.values():
            if deadline > now:
                break
            if not answer.done():
                answer.set_exception(TimeoutError())
        if now >= self._retires_at:
            self.is_open = False
            if not self._unanswered:
                self.end()
                return
        self._sweeping = self._loop.call_later(SWEEP_EVERY_S, self._sweep)

    def end(self) -> asyncio.Task[None]:
        """Sends waiting messages and no more; done when the service has ended its side."""
        self.is_open = False
        self._outbox.put_nowait(None)
        return self._reading

    def close(self, error: MpaError) -> None:
        self.is_open = False
        self._sweeping.cancel()
        self._call.cancel()
        self._writing.cancel()
        self._reading.cancel()
        for answer, _ in self._unanswered.values():
            if not answer.done():
                answer.set_exception(error)
        self._unanswered.clear()
