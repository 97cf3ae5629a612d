"""Server side of a bidirectional stream: many requests under way, each answered when it is done."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from google.rpc import status_pb2

from services import metrics, tracing
from services.core.errors import MpaError
from services.rpc.fields import check_fields
from services.rpc.interceptors.calls import count_item, current_method
from services.rpc.items import Malformed
from services.rpc.messages import StreamItem, apart, fill
from services.rpc.request_id import current_request_id
from services.rpc.requests import Request, Requests
from services.rpc.status import to_status
from services.rpc.window import Window

_log = logging.getLogger(__name__)


class ReplyItem(StreamItem, Protocol):
    """An item with a response or an error."""

    @property
    def error(self) -> Any: ...


Reply = TypeVar("Reply", bound=ReplyItem)


async def answer_out_of_order(
    requests: AsyncIterator[Request | Malformed],
    answer: Callable[[Any], Awaitable[Any]],
    reply: Callable[..., Reply],
) -> AsyncIterator[Reply]:
    """Yields a `reply` with the `answer` to each request, or with its error, as soon as it is done.

    The stream is not read while its window is full of requests under way or of unread replies. A
    request that its client cancels is not answered. An unreadable message is answered with its
    fault.
    """
    done: asyncio.Queue[Reply | None] = asyncio.Queue()
    window = Window()
    under_way: dict[str, asyncio.Task[None]] = {}
    takes_more = False
    if isinstance(requests, Requests):
        requests.is_idle = lambda: not window.items

    def put(answered: Reply, size: int, seconds: float | None) -> None:
        count_item(answered.error.code, seconds)
        window.resize(size, answered.ByteSize())
        done.put_nowait(answered)

    def leave_if_cancelled(size: int, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            window.leave(size)

    async def handle(item: Request, size: int) -> None:
        began = time.perf_counter()
        try:
            check_fields(item.request)
            with tracing.span(current_method(), item.traceparent):
                answered = reply(id=item.id, response=await answer(item.request))
        except MpaError as error:
            answered = reply(id=item.id, error=_status(error))
        except Exception as error:
            answered = reply(id=item.id, error=_status(_bug(error)))
        finally:
            under_way.pop(item.id, None)
        put(answered, size, time.perf_counter() - began)

    async def read() -> None:
        nonlocal takes_more
        try:
            async with asyncio.TaskGroup() as group:
                async for message in requests:
                    if isinstance(message, Malformed):
                        await window.enter(0)
                        put(reply(id=message.id, error=_status(message.error)), 0, None)
                        continue
                    takes_more = message.takes_more
                    for item in apart(message):
                        if item.HasField("request"):
                            size = item.request.ByteSize()
                            await window.enter(size)
                            task = group.create_task(handle(item, size))
                            task.add_done_callback(partial(leave_if_cancelled, size))
                            under_way[item.id] = task
                        elif taken_back := under_way.pop(item.id, None):
                            taken_back.cancel()
        finally:
            done.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (message := await done.get()) is not None:
            first = message.ByteSize()
            message.takes_more = True
            if takes_more:
                fill(message, done)
            sizes = [first, *(item.ByteSize() for item in message.more)]
            yield message
            for size in sizes:
                window.leave(size)
        await reader
    finally:
        reader.cancel()


def _status(error: MpaError) -> status_pb2.Status:
    metrics.failed(metrics.GRPC, error)
    return to_status(error)


def _bug(error: Exception) -> MpaError:
    chosen = current_request_id.get()
    _log.error("an item of a stream failed, request id %s", chosen, exc_info=error)
    return MpaError(
        f"this request failed in the service ({type(error).__name__}); its log has the cause",
        reason="INTERNAL",
    )
