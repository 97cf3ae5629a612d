"""A servicer's method as a route: form or JSON -> message -> reply as JSON."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive

from services import metrics
from services.core.errors import Cancelled, InvalidInput, MpaError, Unavailable
from services.rpc.access.caller import account, the_caller
from services.rpc.fields import check_fields
from services.rpc.http.entrance import Entrance
from services.rpc.http.form import Form, read_form
from services.rpc.http.replies import INTERNAL, TOO_LATE, body_of, error_headers, error_status
from services.rpc.request_id import current_request_id

DEADLINE = "x-request-timeout"
"""Header with the seconds that the caller waits."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class HttpCall:
    """The part of a gRPC call's context that servicers use."""

    def __init__(self, time_s: float) -> None:
        self._end = time.monotonic() + time_s

    def time_remaining(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def invocation_metadata(self) -> tuple[()]:
        """No metadata: an HTTP call can carry no mark, so it is a user's."""
        return ()


def endpoint(
    build: Callable[[Form], Message],
    method: Callable[[Request], Callable[[Any, Any], Coroutine[Any, Any, Message]]],
) -> Callable[[Request], Awaitable[Response]]:
    """The route of a method. `build` makes its message from a form, `method` finds it.

    Every error becomes a reply.
    """

    async def respond(request: Request) -> Response:
        try:
            reply = await _answer(request, build, method)
        except Exception as error:
            return refusal(error)
        return JSONResponse(
            MessageToDict(
                reply, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
        )

    return respond


def refusal(error: Exception) -> Response:
    """The reply to a request that has failed. A bug is logged."""
    if isinstance(error, ClientDisconnect):
        error = Cancelled("the caller has gone")
    if not isinstance(error, MpaError):
        _log.error("request %s failed", current_request_id.get(), exc_info=error)
        error = MpaError(
            f"the service failed ({type(error).__name__}); "
            f"its log has request {current_request_id.get()}",
            reason=INTERNAL,
        )
    metrics.failed(metrics.HTTP, error)
    return Response(body_of(error), error_status(error), error_headers(error), "application/json")


async def _answer(request: Request, build: Any, method: Any) -> Message:
    entrance: Entrance = request.app.state.entrance
    async with timed(request) as call, read_form(request, entrance.uploads) as form:
        try:
            message = build(form)
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"the request can't be read: {error}") from error
        check_fields(message)
        with entrance.requests.held(account(request.client.host if request.client else "")):
            return await unless_gone(request.receive, method(request)(message, call))


@asynccontextmanager
async def timed(request: Request) -> AsyncIterator[HttpCall]:
    """Time of a request, which its caller may limit, and which ends with the caller's key.

    Raises Overloaded: it would be too late; Unavailable: it is; Unauthenticated: the key has ended.
    """
    entrance: Entrance = request.app.state.entrance
    time_s = _time_s(request, entrance.limits.request_s)
    try:
        async with entrance.access.kept_valid(the_caller()), asyncio.timeout(time_s):
            entrance.shedder.require_room(time_s)
            yield HttpCall(time_s)
    except TimeoutError as error:
        raise Unavailable(f"there was no answer within {time_s:g} s", reason=TOO_LATE) from error


def _time_s(request: Request, longest_s: float) -> float:
    given = request.headers.get(DEADLINE)
    if given is None:
        return longest_s
    try:
        time_s = float(given)
    except ValueError:
        time_s = 0.0
    if not 0 < time_s < float("inf"):
        raise InvalidInput(
            f"the header {DEADLINE} is {given[:64]!r}: give seconds, above 0", field=DEADLINE
        )
    return min(time_s, longest_s)


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Cancels `work` when the caller hangs up, the only possible message after the body.

    Raises ClientDisconnect then, and the errors of `work`.
    """
    task = asyncio.current_task()
    assert task is not None
    has_gone = False

    def end(_: object) -> None:
        nonlocal has_gone
        has_gone = True
        task.cancel()

    gone = asyncio.ensure_future(receive())
    gone.add_done_callback(end)
    try:
        return await work
    except asyncio.CancelledError:
        if has_gone:
            task.uncancel()
            raise ClientDisconnect from None
        raise
    finally:
        gone.remove_done_callback(end)
        gone.cancel()
