"""A connection with limits: time for headers, body and reply, bytes of headers, one request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services import metrics
from services.rpc.access.tls import names_of_certificate
from services.rpc.http.entrance import Entrance
from services.rpc.http.replies import error_body
from services.rpc.request_id import HEADER, request_id

MOST_HEADER_BYTES = 64 * 1024
MOST_DISCARDED_BYTES = 32 * 2**20
"""Most bytes of a body that are read after its reply: many callers send everything first."""
MOST_FRAMING_BYTES = 2**20
"""Most bytes of a body in chunks that are not the body itself: sizes, extensions, trailers."""
LINGER_S = 1.0
"""Seconds from the last reply to the close: after an earlier one, unread bytes would discard it."""

_REASONS = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}
_log = logging.getLogger(__name__)


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol, which by itself waits for ever for headers and bodies of any connection.

    A connection without a complete request (whose headers, body, or unread rest of a body are still
    to come) counts among `entrance.waiting`; any other has one request under way. A second request
    before the first is answered (pipelining, unused by today's clients) is not read: the connection
    closes after the reply, and the caller asks again (RFC 9112, 9.3.2).
    """

    def __init__(self, entrance: Entrance, **given: Any) -> None:
        super().__init__(**given)
        self._entrance = entrance
        self._limits = entrance.limits
        self._caller = ""
        self._extensions: dict[str, Any] = {}
        self._is_waiting = False
        self._is_deaf = False
        self._has_body_to_come = False
        self._unasked_bytes = 0
        self._framing_bytes = 0
        self._time_limit: asyncio.TimerHandle | None = None
        self._write_limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._caller = self.client[0] if self.client else ""
        if certificate := transport.get_extra_info("peercert"):
            self._extensions = {"tls": {"client_names": names_of_certificate(certificate)}}
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._entrance.waiting.discard(self)
        for timer in (self._time_limit, self._write_limit):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def evict(self) -> None:
        self.transport.abort()

    def announce_close(self) -> None:
        """Announces the close of the connection in the reply under way, if that has not begun."""
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Ends an idle connection after a moment; a caller that connects or sends may still ask."""
        if self._is_waiting:
            self._limit(
                LINGER_S if not self._unasked_bytes else self._limits.headers_s,
                self.transport.close,
            )
        elif self.cycle is not None:
            self.cycle.keep_alive = False

    # Time

    def _limit(self, seconds: float, end: Callable[[], None]) -> None:
        """Calls `end` after `seconds`, unless another phase of the connection begins before."""
        if self._time_limit is not None:
            self._time_limit.cancel()
        self._time_limit = self.loop.call_later(seconds, end)

    def _wait(self) -> None:
        self._is_waiting = True
        self._unasked_bytes = 0
        self._entrance.waiting.add(self, self._caller)
        self._limit(self._limits.headers_s, self._headers_are_late)

    def _headers_are_late(self) -> None:
        if self._unasked_bytes and not self._has_body_to_come:
            self._refuse(
                408, "TIMEOUT", f"the headers were not complete after {self._limits.headers_s:g} s"
            )
        else:
            self.transport.abort()

    def _body_is_late(self) -> None:
        self._refuse(408, "TIMEOUT", f"the body was not complete after {self._limits.body_s:g} s")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_limit = self.loop.call_later(self._limits.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_limit is not None:
            self._write_limit.cancel()

    # Bytes

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if self._is_waiting:
            self._unasked_bytes += len(data)
        else:
            self._framing_bytes += len(data)
        super().data_received(data)
        if self._is_deaf:
            return
        if not self._is_waiting:
            if self._framing_bytes > MOST_FRAMING_BYTES:
                self._refuse(400, "INVALID_REQUEST", "the body comes with too much around it")
        elif self._has_body_to_come:
            if self._unasked_bytes > MOST_DISCARDED_BYTES:
                self._is_deaf = True
                self.flow.pause_reading()  # a caller that can't send may read
                self._limit(LINGER_S, self.transport.abort)
        elif self._unasked_bytes > MOST_HEADER_BYTES:
            self._refuse(
                431, "HEADERS_TOO_LARGE", f"the headers have more than {MOST_HEADER_BYTES:,} bytes"
            )

    def on_message_begin(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._is_deaf = True
            self.cycle.keep_alive = False
            raise ValueError("a second request before the reply to the first")  # ends the parsing
        super().on_message_begin()
        self.scope["extensions"] = self._extensions

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_body_to_come:  # uvicorn would take a trailer for a header
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if sum(name == b"host" for name, _ in self.headers) > 1:
            raise ValueError("two hosts")  # a proxy may have read the other one
        self._entrance.waiting.add(self, self._caller)
        self._is_waiting = False
        self._has_body_to_come = True
        self._framing_bytes = 0
        self._limit(self._limits.body_s, self._body_is_late)
        super().on_headers_complete()
        if self._entrance.is_leaving or self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._framing_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._has_body_to_come = False
        self._framing_bytes = 0
        self._unasked_bytes = 0
        if not self._is_waiting and self._time_limit is not None:
            self._time_limit.cancel()
            self._entrance.waiting.discard(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            self._wait()
        elif self.transport.get_write_buffer_size():
            self._limit(self._limits.write_s, self.transport.abort)

    def _should_upgrade_to_ws(self) -> bool:
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Ignores an offer of another protocol; the parser reads nothing after one."""
        self._is_deaf = True

    # Refusals without an application

    def send_400_response(self, msg: str) -> None:
        """Answers a request that the parser could not read."""
        if not self._is_deaf:
            self._refuse(400, "INVALID_REQUEST", "this is no valid HTTP request")

    def _refuse(self, status: int, reason: str, message: str) -> None:
        under_way = self.cycle is not None and not self.cycle.response_complete
        if self.transport.is_closing() or (under_way and self.cycle.response_started):
            self.transport.abort()
            return
        self._is_deaf = True
        if under_way:  # its handler sees that the caller is gone, and does not ask for more
            self.cycle.disconnected = True
            self.cycle.waiting_for_100_continue = False
            self.cycle.message_event.set()
        given = request_id(None)
        body = error_body(status, reason, message)
        metrics.failed(metrics.HTTP, reason)
        _log.warning("%s %s id=%s peer=%s", status, message, given, self._caller)
        head = [
            b"HTTP/1.1 %d %s" % (status, _REASONS[status]),
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"connection: close",
            b"%s: %s" % (HEADER.encode(), given.encode()),
        ]
        self.transport.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._entrance.waiting.add(self, self._caller)
            self._limit(LINGER_S, self.transport.abort)
        else:
            self.transport.close()
