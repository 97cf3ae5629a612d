"""Reading of requests, with time limits, and with a description of each unreadable message.

A deserializer that raises would end its call, and the other items of a stream, with UNKNOWN. This
one returns a Malformed instead: a stream answers it and continues, other calls end with
INVALID_ARGUMENT.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from services.core.errors import InvalidInput, MpaError
from services.rpc.access.caller import account
from services.rpc.fields import check_fields
from services.rpc.interceptors.around import Call, Context, Handler, wrapped
from services.rpc.interceptors.receiving import Receiving
from services.rpc.interceptors.silence import Silence
from services.rpc.interceptors.turnstile import ANSWERS, kind
from services.rpc.items import Malformed, check_items, first_id
from services.rpc.requests import Requests

UNARY_S = 30.0
"""Time limit for the arrival of a single request: 32 MiB at a megabyte per second."""

LINGER_S = 2.0
"""Seconds that a caller may continue to send after its upload is refused."""


class Reading(grpc.aio.ServerInterceptor):
    """Interceptor of requests.

    `silence_s`: how long an open upload may send nothing; `leaving_s`: the same in a shutdown.
    """

    def __init__(self, silence_s: float, leaving_s: float) -> None:
        self._silence_s = silence_s
        self._leaving_s = leaving_s
        self._silence = Silence(leaving_s)
        self._answers, self._others = Receiving(), Receiving()
        self._streams: set[Requests[Any]] = set()

    def leave(self) -> None:
        """Ends the requests of bidirectional streams that have begun, and silent calls soon.

        A bulk client would never end its stream by itself.
        """
        self._silence.leave()
        for stream in self._streams:
            stream.end(self._leaving_s)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(details)
        if handler is None:
            return None
        handler = wrapped(handler, self._wrap(handler, details.method))
        read = _reader(handler.request_deserializer)
        serialize = handler.response_serializer
        # A single request is read as a stream of one, so the call is counted before it is read.
        if handler.response_streaming:
            call = handler.stream_stream or handler.unary_stream
            return grpc.stream_stream_rpc_method_handler(call, read, serialize)
        call = handler.stream_unary or handler.unary_unary
        return grpc.stream_unary_rpc_method_handler(call, read, serialize)

    def _wrap(self, handler: Handler, method: str) -> Callable[[Call], Call]:
        if not handler.request_streaming:
            return partial(self._single, method)
        has_items = "more" in _message_kind(handler.request_deserializer).DESCRIPTOR.fields_by_name
        return self._bidirectional if has_items else self._in_turn

    def _bidirectional(self, inner: Call) -> Call:
        async def call(requests: AsyncIterator[Any], context: Context) -> None:
            stream = Requests(requests, self._silence_s)
            self._streams.add(stream)
            if self._silence.is_leaving:
                stream.end(self._leaving_s)
            try:
                await inner(stream, context)
            finally:
                self._streams.discard(stream)

        return call

    def _in_turn(self, inner: Call) -> Call:
        async def call(requests: AsyncIterator[Any], context: Context) -> Any:
            try:
                return await inner(self._each(requests), context)
            except MpaError:
                await _discard(requests)
                raise

        return call

    async def _each(self, requests: AsyncIterator[Any]) -> AsyncIterator[Message]:
        while True:
            async with self._silence.ended(
                self._silence_s,
                f"nothing came for {self._silence_s:g} s: send it all again without a pause",
            ):
                message = await anext(requests, None)
            if message is None:
                return
            yield _sound(message)

    def _single(self, method: str, inner: Call) -> Call:
        receiving = self._answers if kind(method) == ANSWERS else self._others

        async def call(requests: AsyncIterator[Any], context: Context) -> Any:
            async with (
                self._silence.ended(UNARY_S, f"the request did not arrive within {UNARY_S:g} s"),
                receiving.place(account(context.peer().rpartition(":")[0])),
            ):
                request = await anext(requests, None)
            if request is None:
                raise InvalidInput("the call ended without a request", reason="REQUEST_MISSING")
            return await inner(_sound(request), context)

        return call


async def _discard(requests: AsyncIterator[Any]) -> None:
    """Reads on for a moment.

    A caller that still sends when its call ends gets "Internal error from Core" and no refusal.
    """
    with suppress(TimeoutError, StopAsyncIteration):
        async with asyncio.timeout(LINGER_S):
            while True:
                await anext(requests)


def _sound(request: Any) -> Message:
    if isinstance(request, Malformed):
        raise request.error
    message: Message = request
    check_fields(message)
    return message


def _reader(deserialize: Callable[[bytes], Message]) -> Callable[[bytes], Message | Malformed]:
    kind = _message_kind(deserialize)

    def read(data: bytes) -> Message | Malformed:
        try:
            check_items(kind, data)
            return deserialize(data)
        except DecodeError:
            name = kind.DESCRIPTOR.full_name
            error = InvalidInput(f"{len(data):,} bytes came that are no {name}", reason="MALFORMED")
        except InvalidInput as refusal:
            error = refusal
        return Malformed(error, first_id(kind, data))

    return read


def _message_kind(deserialize: Callable[[bytes], Message]) -> type[Message]:
    """The class of a FromString method."""
    kind: type[Message] = deserialize.__self__  # type: ignore[attr-defined]
    return kind
