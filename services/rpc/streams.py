"""Bulk over a bidirectional stream: many requests under way, answers as they finish, one failure ends only itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from services.core.errors import MpaError

MAX_IN_FLIGHT = 256

Request = TypeVar("Request")
Response = TypeVar("Response")


async def answer_out_of_order(
    requests: AsyncIterator[Request],
    answer: Callable[[Request], Awaitable[Response]],
    refuse: Callable[[Request, MpaError], Response],
) -> AsyncIterator[Response]:
    """Yields `answer(request)`, or `refuse(request, error)` where that raised MpaError, in the order they are done.

    At most MAX_IN_FLIGHT are under way: beyond that the stream is not read, which holds the client back.
    """
    done: asyncio.Queue[Response | None] = asyncio.Queue()
    room = asyncio.Semaphore(MAX_IN_FLIGHT)

    async def handle(request: Request) -> None:
        try:
            response = await answer(request)
        except MpaError as error:
            response = refuse(request, error)
        except Exception as error:
            response = refuse(request, MpaError(f"this request failed in the service: {error!r}", reason="INTERNAL"))
        finally:
            room.release()
        done.put_nowait(response)

    async def read() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                async for request in requests:
                    await room.acquire()
                    group.create_task(handle(request))
        finally:
            done.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (response := await done.get()) is not None:
            yield response
        await reader
    finally:
        reader.cancel()
