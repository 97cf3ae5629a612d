"""An interceptor that is a context manager around each call."""

from __future__ import annotations

import abc
import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, TypeAlias

import grpc

from services.core.errors import TimedOut

UNREAD_S = 60.0

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Call = Callable[[Any, Context], Awaitable[Any]]
Wrap = Callable[[Call], Call]
Replies = Callable[[Any, Context], AsyncIterator[Any]]


class Around(grpc.aio.ServerInterceptor, abc.ABC):
    """Enters `around` before the request is read and leaves it after the last reply is sent."""

    @abc.abstractmethod
    def around(self, method: str, context: Context) -> AbstractAsyncContextManager[None]: ...

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(details)
        method = details.method

        def wrap(inner: Call) -> Call:
            async def call(request: Any, context: Context) -> Any:
                async with self.around(method, context):
                    return await inner(request, context)

            return call

        return None if handler is None else wrapped(handler, wrap)


def wrapped(handler: Handler, wrap: Wrap, unread_s: float = UNREAD_S) -> Handler:
    """The same handler behind `wrap`.

    A generator of replies becomes a call that writes them, so that it is closed with its call and
    not by the garbage collector. `unread_s`: seconds that a reply waits for a caller that does not
    read.
    """
    request, response = handler.request_streaming, handler.response_streaming
    name = f"{'stream' if request else 'unary'}_{'stream' if response else 'unary'}"
    inner = getattr(handler, name)
    make = getattr(grpc, f"{name}_rpc_method_handler")
    call = wrap(_written(inner, unread_s) if inspect.isasyncgenfunction(inner) else inner)
    return make(call, handler.request_deserializer, handler.response_serializer)


def _written(replies: Replies, unread_s: float) -> Call:
    async def call(request: Any, context: Context) -> None:
        has_begun = False
        async with aclosing(replies(request, context)) as each:  # type: ignore[type-var]
            async for reply in each:
                if not has_begun:
                    # Sent with the first reply, it would be under way until the caller reads, and
                    # grpcio can't end a call whose metadata is under way.
                    await context.send_initial_metadata(())
                    has_begun = True
                await _write(context, reply, unread_s)

    return call


async def _write(context: Context, reply: Any, unread_s: float) -> None:
    try:
        async with asyncio.timeout(unread_s):
            await context.write(reply)
    except TimeoutError:
        raise TimedOut(f"replies were not read for {unread_s:g} s", reason="UNREAD") from None
