"""Bulk over a bidirectional stream: many requests under way, answers as they finish, one failure ends only itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

from services.core.errors import MpaError
from services.rpc.messages import Item, apart, fill
from services.rpc.status import to_status

MAX_IN_FLIGHT = 256


class RequestItem(Item, Protocol):
    """Without a request it takes back the one of its id."""

    @property
    def request(self) -> Any: ...


Request = TypeVar("Request", bound=RequestItem)
Reply = TypeVar("Reply", bound=Item)


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
    requests: AsyncIterator[Request], answer: Callable[[Any], Awaitable[Any]], reply: Callable[..., Reply]
) -> AsyncIterator[Reply]:
    """Yields what `answer` makes of each request, or the MpaError that it raised, as a `reply`, in the order they are done.

    At most MAX_IN_FLIGHT are under way: beyond that the stream is not read, which holds the client back. What is taken back is
    cancelled and not answered.
    """
    done: asyncio.Queue[Reply | None] = asyncio.Queue()
    room = asyncio.Semaphore(MAX_IN_FLIGHT)
    under_way: dict[str, asyncio.Task[None]] = {}
    takes_more = False

    async def handle(item: Request) -> None:
        try:
            answered = reply(id=item.id, response=await answer(item.request))
        except MpaError as error:
            answered = reply(id=item.id, error=to_status(error))
        except Exception as error:
            bug = MpaError(f"this request failed in the service: {error!r}", reason="INTERNAL")
            answered = reply(id=item.id, error=to_status(bug))
        finally:
            under_way.pop(item.id, None)
            room.release()
        done.put_nowait(answered)

    async def read() -> None:
        nonlocal takes_more
        try:
            async with asyncio.TaskGroup() as group:
                async for message in requests:
                    takes_more = message.takes_more
                    for item in apart(message):
                        if item.HasField("request"):
                            await room.acquire()
                            under_way[item.id] = group.create_task(handle(item))
                        elif task := under_way.pop(item.id, None):
                            task.cancel()
        finally:
            done.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (message := await done.get()) is not None:
            message.takes_more = True
            if takes_more:
                fill(message, done)
            yield message
        await reader
    finally:
        reader.cancel()
