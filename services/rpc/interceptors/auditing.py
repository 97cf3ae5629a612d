"""Lines of the audit log around control actions: one before, one after."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message

from services.rpc.access.audit_log import BEGUN, OK, AuditLog, result_of
from services.rpc.access.roles import AUDITED
from services.rpc.interceptors.around import Call, Context, Handler, wrapped
from services.rpc.shortening import NAME_BYTES, shortened

_NAMES = (
    "name",
    "expected_live",
    "unload",
    "dataset",
    "base_version",
    "run",
    "recipe",
    "samples",
    "images",
    "live",
    "previous",
)
"""Fields of requests and replies that a line holds: names and counts."""


class Auditing(grpc.aio.ServerInterceptor):
    """Innermost interceptor: it sees requests that are complete and sound."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(details)
        if handler is None or details.method not in AUDITED:
            return handler
        return wrapped(handler, partial(self._audited, details.method.rpartition("/")[2]))

    def _audited(self, action: str, inner: Call) -> Call:
        async def call(request: Any, context: Context) -> Any:
            asked = _facts(request)
            await self._log.write(action, BEGUN, request=asked)
            try:
                reply = await inner(request, context)
            except BaseException as error:
                await self._log.write(action, result_of(error), request=asked)
                raise
            await self._log.write(action, OK, request=asked, reply=_facts(reply))
            return reply

        return call


def _facts(message: Any) -> dict[str, Any]:
    """Names and counts in a message. The messages of an upload are a stream, which has none."""
    if not isinstance(message, Message):
        return {}
    return {
        field.name: shortened(value, NAME_BYTES) if isinstance(value, str) else value
        for field, value in message.ListFields()
        if field.name in _NAMES and isinstance(value, str | int | bool)
    }
