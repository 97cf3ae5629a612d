"""An id, a log line and metrics for every call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.rpc import code_pb2

from services import metrics, tracing
from services.rpc.interceptors.around import Around, Context
from services.rpc.request_id import HEADER, CallLog, begin_request, current_request_id

_UNREMARKABLE = ("OK", "CANCELLED")
_current_method: ContextVar[str] = ContextVar("current_method", default="")


class Calls(Around):
    """Outermost interceptor. Health checks and reflection are neither logged nor counted."""

    def __init__(self) -> None:
        self._log = CallLog()

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncIterator[None]:
        if method.startswith(("/grpc.health.", "/grpc.reflection.")):
            yield
            return
        given = dict(context.invocation_metadata() or ())
        chosen = begin_request(_text(given.get(HEADER)))
        _current_method.set(method)
        context.set_trailing_metadata(((HEADER, chosen),))
        # The items of a bulk stream have spans of their own, each below its caller's.
        name = "" if _is_bulk(method) else method
        with tracing.span(name, _text(given.get(tracing.HEADER)) or "") as span:
            async with self._counted(method, context, span):
                yield

    @asynccontextmanager
    async def _counted(
        self, method: str, context: Context, span: tracing.TraceSpan
    ) -> AsyncIterator[None]:
        began = time.perf_counter()
        code = "OK"
        try:
            yield
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except grpc.aio.AbortError:
            code = context.code().name
            raise
        finally:
            seconds = time.perf_counter() - began
            if _is_bulk(method):  # its items are counted one by one, under their own codes
                metrics.ended(metrics.GRPC, method, "STREAM", None)
            else:
                metrics.ended(metrics.GRPC, method, code, seconds)
            failed = code not in _UNREMARKABLE
            span.set_attribute("rpc.grpc.status", code)
            why = context.details() or "" if failed else ""
            self._log.ended(method, code, seconds, peer=context.peer(), failed=failed, why=why)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def current_method() -> str:
    """Full name of the method of the call under way."""
    return _current_method.get()


def count_item(code: int, seconds: float | None) -> None:
    """Counts the answer to an item of the current bulk stream.

    `code`: that of its google.rpc.Status, 0 for OK.
    """
    metrics.ended(metrics.GRPC, _current_method.get(), code_pb2.Code.Name(code), seconds)


@cache
def _is_bulk(method: str) -> bool:
    return bool(
        descriptor_pool.Default().FindMethodByName(method[1:].replace("/", ".")).server_streaming
    )


def with_request_id(trailing: Sequence[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
    """Trailing metadata of an error, which replaces all earlier trailing metadata."""
    return (*trailing, (HEADER, current_request_id.get()))
