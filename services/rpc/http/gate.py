"""The outermost ASGI application: known paths only, an id and a log line for each request."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services import metrics, tracing
from services.core.errors import Overloaded, PermissionDenied, Unauthenticated
from services.rpc.access.access import HEADER as HEADER_OF_KEYS
from services.rpc.access.caller import account
from services.rpc.http.entrance import Entrance
from services.rpc.http.limits import Quota
from services.rpc.http.replies import INTERNAL, error_body, error_headers, error_status
from services.rpc.request_id import HEADER, CallLog, begin_request

METRICS = "/metrics"
OBSERVED = ("/livez", "/healthz", "/readyz", METRICS)
"""Paths with separate room: they are always answered, whatever else is under way."""
MOST_SCRAPES = 4
"""Most simultaneous readings of the metrics: each is made on a thread."""
_OF_OBSERVED = ("GET", "HEAD")

_log = logging.getLogger(__name__)


class Gate:
    """Gate in front of all of BentoML's application.

    BentoML's pages load scripts from other hosts, its metrics keep a series for each requested
    path, and are read from files of all processes that ever served; its time limit keeps each
    request in memory until the limit is over.
    """

    def __init__(self, bento: ASGIApp, ours: Starlette, entrance: Entrance) -> None:
        """`bento` answers OBSERVED but for the metrics, `ours` its own routes."""
        self._bento = bento
        self._ours = ours
        self._routes = {route.path: route for route in ours.routes if isinstance(route, Route)}
        self._methods = {
            path: tuple(sorted(route.methods or ())) for path, route in self._routes.items()
        }
        self._methods |= dict.fromkeys(OBSERVED, _OF_OBSERVED)
        self._access = entrance.access
        self._requests = entrance.requests
        self._scrapes = Quota("readings of the metrics at once", MOST_SCRAPES, MOST_SCRAPES)
        self._calls = CallLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._bento(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = begin_request(headers.get(HEADER))
        known = self._known(scope["path"])
        name = known if known not in OBSERVED else ""
        with tracing.span(name, headers.get(tracing.HEADER, "")) as span:
            status = await self._respond(scope, receive, send, known, given)
            span.set_attribute("http.response.status_code", status)

    async def _respond(
        self, scope: Scope, receive: Receive, send: Send, known: str, given: str
    ) -> int:
        """Returns the status of the reply; 0 if the caller has gone."""
        began = time.monotonic()
        path = scope["path"]
        caller = scope["client"][0] if scope.get("client") else ""
        reply = _Reply(send, given)
        try:
            await self._admit(scope, receive, reply.send, known, caller)
        except Exception:
            _log.exception("request %s failed", given)
            metrics.failed(metrics.HTTP, INTERNAL)
            if not reply.status:
                await _refuse(
                    reply.send, 500, INTERNAL, f"the service failed; its log has request {given}"
                )
        finally:
            seconds = time.monotonic() - began
            metrics.ended(metrics.HTTP, known or "other", str(reply.status or "gone"), seconds)
            if path not in OBSERVED or reply.status not in (200, 503):
                self._calls.ended(
                    f"{scope['method']} {path}",
                    str(reply.status or "gone"),
                    seconds,
                    peer=caller,
                    failed=not 200 <= reply.status < 400,
                    why=reply.why,
                )
        return reply.status

    def _known(self, path: str) -> str:
        """The path of a route, such as "/v1/models/{model}"; "" if there is none."""
        if path in self._methods:
            return path
        matching = (
            known for known, route in self._routes.items() if route.path_regex.fullmatch(path)
        )
        return next(matching, "")

    async def _admit(
        self, scope: Scope, receive: Receive, send: Send, known: str, caller: str
    ) -> None:
        path, method = scope["path"], scope["method"]
        if not known:
            there = ", ".join(self._methods)
            metrics.failed(metrics.HTTP, "NOT_FOUND")
            await _refuse(
                send, 404, "NOT_FOUND", f"there is no {path[:100]!r} here; there are {there}"
            )
        elif method not in self._methods[known]:
            allowed = ", ".join(self._methods[known])
            metrics.failed(metrics.HTTP, "METHOD_NOT_ALLOWED")
            await _refuse(
                send, 405, "METHOD_NOT_ALLOWED", f"{path} takes {allowed}", {"allow": allowed}
            )
        else:
            try:
                self._access.admit(
                    known, Headers(scope=scope).getlist(HEADER_OF_KEYS), _certificate(scope), caller
                )
                with self._room(path, account(caller)):
                    await self._application(known, scope)(scope, receive, send)
            except (Overloaded, Unauthenticated, PermissionDenied) as error:
                metrics.failed(metrics.HTTP, error)
                await _refuse(
                    send, error_status(error), error.reason, str(error), error_headers(error)
                )

    def _application(self, known: str, scope: Scope) -> ASGIApp:
        """The application of a known path. Ours are called without starlette's own layers."""
        if known == METRICS:
            return _metrics
        if known in OBSERVED:
            return self._bento
        route = self._routes[known]
        _, found = route.matches(scope)
        scope.update(found, app=self._ours)
        return route.app

    def _room(self, path: str, caller: str) -> AbstractContextManager[None]:
        """Room for a reading of metrics; requests take theirs when complete. Raises Overloaded."""
        if path == METRICS:
            return self._scrapes.held(caller)
        if path not in OBSERVED:
            self._requests.require_room(caller)
        return nullcontext()


async def _metrics(scope: Scope, receive: Receive, send: Send) -> None:
    page = Response(await metrics.exposition(), media_type=metrics.CONTENT_TYPE)
    await page(scope, receive, send)


def _certificate(scope: Scope) -> Sequence[str]:
    """Names of the client's certificate, as protocol.py notes them."""
    names: Sequence[str] = scope.get("extensions", {}).get("tls", {}).get("client_names", ())
    return names


class _Reply:
    """A reply with the request's id. Refusals in plain text by starlette or BentoML become JSON."""

    def __init__(self, send: Send, given: str) -> None:
        self.status = 0
        self.why = ""
        self._send = send
        self._id = given
        self._plain = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers[HEADER] = self._id
            self.status = message["status"]
            self._plain = self.status >= 400 and headers.get("content-type", "").startswith(
                "text/plain"
            )
            if self._plain:
                return
        elif self._plain:
            if message.get("more_body"):
                return
            self._plain = False
            text = message.get("body", b"").decode(errors="replace")
            await _refuse(self.send, self.status, HTTPStatus(self.status).name, text)
            return
        elif self.status >= 400 and not self.why:
            self.why = message.get("body", b"")[:300].decode(errors="replace")
        await self._send(message)


async def _refuse(
    send: Send, status: int, reason: str, message: str, headers: dict[str, str] | None = None
) -> None:
    body = error_body(status, reason, message)
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **(headers or {}),
    }
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
