"""The check of each request, and the headers of each response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.rpc.http.origin import LOOPBACK, host_name, is_address

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

ELSEWHERE = (
    "This address is not the explorer's own: open the one that mpa-orch ui has printed. "
    "If it listens on all addresses, use the number of one, or give the name as --host."
)
FOREIGN = (
    "Changes are taken from the explorer's own pages alone, and this one did not come from there: "
    "load the page again, then repeat."
)
EMBEDDED = "A page elsewhere has asked for this as a part of itself: open the address by hand."
READS = ("GET", "HEAD", "OPTIONS")

Refuse = Callable[[Request, str], Awaitable[Response]]
"""Response to a refused request; the text says why."""


class Guard:
    """The outermost application.

    A request must name this machine as its host: by `host`, on which it listens, or as LOOPBACK
    does. Without `is_loopback`, any IP address is one of its names. Otherwise a page elsewhere
    could read the explorer: its name in DNS would lead here (DNS rebinding, which needs a name).

    A request that changes something must come from a page of the same host, as the browser says:
    otherwise a page elsewhere could send a form here (CSRF). Browsers send Sec-Fetch-Site, or the
    page's Origin where the explorer has no secure address.
    """

    def __init__(self, app: ASGIApp, refuse: Refuse, host: str, *, is_loopback: bool) -> None:
        self._app = app
        self._refuse = refuse
        self._names = {*LOOPBACK, _in_header(host)}
        self._is_loopback = is_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        reason = ""
        if not self._names_this_machine(headers.get("host", "")):
            reason = ELSEWHERE
        elif scope["method"] not in READS and not _is_from_own_page(headers):
            reason = FOREIGN
        elif _is_part_of_another_page(headers):
            reason = EMBEDDED
        if reason:
            refusal = await self._refuse(Request(scope), reason)
            return await refusal(scope, receive, send_with_headers)
        await self._app(scope, receive, send_with_headers)

    def _names_this_machine(self, host: str) -> bool:
        name = host_name(host)
        return name in self._names or (not self._is_loopback and is_address(name))


def _is_from_own_page(headers: Headers) -> bool:
    if site := headers.get("sec-fetch-site", ""):
        return site == "same-origin"
    host = headers.get("host", "").lower()
    return headers.get("origin", "").lower() in (f"http://{host}", f"https://{host}")


def _is_part_of_another_page(headers: Headers) -> bool:
    """Whether another site's page loads a view as its own image or script, and no person a link."""
    is_foreign = headers.get("sec-fetch-site", "") in ("cross-site", "same-site")
    return is_foreign and headers.get("sec-fetch-mode", "navigate") != "navigate"


def _in_header(host: str) -> str:
    """A host as a Host header has it."""
    return f"[{host}]".lower() if ":" in host else host.lower()
