"""A connection while it shakes hands by TLS, within the limits of every other connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from services.rpc.access.tls import Certificates
from services.rpc.http.entrance import Entrance
from services.rpc.http.protocol import LINGER_S, BoundedHttp

GOODBYE_S = 2.0
"""Seconds that the end of a connection waits for the caller's own; asyncio waits for 30."""


class TlsHandshake(asyncio.Protocol):
    """The protocol of a new connection, which becomes that of BoundedHttp when it is encrypted.

    By itself asyncio gives a handshake a minute, counts nobody, and keeps one set of certificates.
    Here a connection counts among `entrance.waiting` from its first byte, has as long as headers
    have, and meets the newest certificates.
    """

    def __init__(
        self,
        entrance: Entrance,
        certificates: Certificates,
        make: Callable[[], BoundedHttp],
        connections: set[Any],
    ) -> None:
        """`connections`: those that uvicorn knows, and ends when it leaves."""
        self._entrance = entrance
        self._certificates = certificates
        self._make = make
        self._connections = connections
        self._early = bytearray()
        self._is_lost = False
        self._is_leaving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._connections.add(self)
        self._entrance.waiting.add(self, str(peer[0]) if peer else "")
        self._shaking = asyncio.ensure_future(self._shake_hands())

    async def _shake_hands(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._is_lost:
                return
            raw, self._early = self._early, bytearray()
            loop.call_soon(loop.call_soon, self._feed, raw)  # after TLS has the transport
            encrypted = await loop.start_tls(
                self._transport,
                self,
                self._certificates.context,
                server_side=True,
                ssl_handshake_timeout=self._entrance.limits.headers_s,
                ssl_shutdown_timeout=GOODBYE_S,
            )
        except OSError:  # no TLS, an old version, a strange certificate, silence, gone
            self._transport.abort()
            return
        finally:
            self._entrance.waiting.discard(self)
            self._connections.discard(self)
        if encrypted is not None and not self._is_lost and not self._transport.is_closing():
            self._hand_over(encrypted)

    def _feed(self, raw: bytearray) -> None:
        """Gives TLS the bytes that were read before: uvloop reads as soon as it is connected."""
        tls: Any = self._transport.get_protocol()
        while raw and not self._transport.is_closing():
            room = tls.get_buffer(len(raw))
            size = min(len(room), len(raw))
            room[:size] = raw[:size]
            tls.buffer_updated(size)
            del raw[:size]

    def _hand_over(self, encrypted: asyncio.Transport) -> None:
        http = self._make()
        encrypted.set_protocol(http)
        http.connection_made(encrypted)
        if self._early:
            http.data_received(bytes(self._early))
        if self._is_leaving:
            http.shutdown()

    def data_received(self, data: bytes) -> None:
        """Keeps bytes that come before the handshake begins, or together with its end."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True

    def evict(self) -> None:
        self._transport.abort()

    def shutdown(self) -> None:
        """Gives the handshake a moment more."""
        self._is_leaving = True
        asyncio.get_running_loop().call_later(LINGER_S, self._give_up)

    def _give_up(self) -> None:
        if not self._shaking.done():
            self._transport.abort()
