"""Bulk over a bidirectional stream: many requests under way, answers as they finish, one failure ends only itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

from services.core.errors import MpaError

MAX_IN_FLIGHT = 256


class Item(Protocol):
    """A request under the client's id; without the request it takes back the one of that id."""

    id: str

    def HasField(self, field_name: str, /) -> bool: ...


Request = TypeVar("Request", bound=Item)
Response = TypeVar("Response")


class Requests(AsyncIterator[Request]):
    """The requests of a stream, until the client or the service ends them: what was read by then is still answered."""

    def __init__(self, requests: AsyncIterator[Request]) -> None:
        self._requests = requests
        self._reader: asyncio.Task[Any] | None = None
        self._is_over = False

    async def __anext__(self) -> Request:
        if self._is_over:
            raise StopAsyncIteration
        self._reader = asyncio.current_task()
        try:
            return await anext(self._requests)
        except asyncio.CancelledError:
            if not self._is_over:
                raise
            assert self._reader is not None
            self._reader.uncancel()
            raise StopAsyncIteration from None
        finally:
            self._reader = None

    def end(self) -> None:
        self._is_over = True
        if self._reader is not None:
            self._reader.cancel()


async def answer_out_of_order(
    requests: AsyncIterator[Request],
    answer: Callable[[Request], Awaitable[Response]],
    refuse: Callable[[Request, MpaError], Response],
) -> AsyncIterator[Response]:
    """Yields `answer(request)`, or `refuse(request, error)` where that raised MpaError, in the order they are done.

    At most MAX_IN_FLIGHT are under way: beyond that the stream is not read, which holds the client back. What is taken back is
    cancelled and not answered.
    """
    done: asyncio.Queue[Response | None] = asyncio.Queue()
    room = asyncio.Semaphore(MAX_IN_FLIGHT)
    under_way: dict[str, asyncio.Task[None]] = {}

    async def handle(request: Request) -> None:
        try:
            response = await answer(request)
        except MpaError as error:
            response = refuse(request, error)
        except Exception as error:
            response = refuse(request, MpaError(f"this request failed in the service: {error!r}", reason="INTERNAL"))
        finally:
            under_way.pop(request.id, None)
            room.release()
        done.put_nowait(response)

    async def read() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                async for request in requests:
                    if not request.HasField("request"):
                        if task := under_way.pop(request.id, None):
                            task.cancel()
                        continue
                    await room.acquire()
                    under_way[request.id] = group.create_task(handle(request))
        finally:
            done.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (response := await done.get()) is not None:
            yield response
        await reader
    finally:
        reader.cancel()
