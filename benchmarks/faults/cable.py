"""A network cable between a client and a service, which can be cut at a byte."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that makes close() send RST."""
_CHUNK = 2**16
SENT, RECEIVED = "sent", "received"


class Cable:
    """Relay of TCP connections from `address` to `port`, which may change."""

    def __init__(self) -> None:
        self.port = 0
        """Port of the service."""
        self.address = ""
        self.bytes = {SENT: 0, RECEIVED: 0}
        self._left = {SENT: -1, RECEIVED: -1}
        self._is_silent = False
        self._open = asyncio.Event()
        self._open.set()
        self.cut = asyncio.Event()
        """Set when the armed cut has happened."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def arm(self, direction: str, after_bytes: int, *, silent: bool) -> None:
        """Cut the cable `after_bytes` from now in one direction.

        By RST on all connections, or, if `silent`, by losing everything without a sign.
        """
        self.cut.clear()
        self._left[direction] = after_bytes
        self._is_silent = silent

    def disarm(self) -> None:
        self._left = {SENT: -1, RECEIVED: -1}

    def heal(self) -> None:
        """Let new connections through; those that were cut silently are reset."""
        self.disarm()
        if not self._open.is_set():
            self._reset()
            self._open.set()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._open.set()
        self._reset()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            _close(writer)
            return
        self._writers |= {writer, far_writer}
        ways = (
            asyncio.create_task(self._relay(reader, far_writer, SENT)),
            asyncio.create_task(self._relay(far_reader, writer, RECEIVED)),
        )
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for each in (writer, far_writer):
            _close(each)
            self._writers.discard(each)

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                left = self._left[direction]
                if 0 <= left < len(data):
                    writer.write(data[:left])
                    with suppress(TimeoutError):
                        await asyncio.wait_for(writer.drain(), 1)
                    self.disarm()
                    self._cut()
                if left >= 0:
                    self._left[direction] = max(-1, left - len(data))
                await self._open.wait()
                self.bytes[direction] += len(data)
                writer.write(data)
                await writer.drain()

    def _cut(self) -> None:
        self.cut.set()
        if self._is_silent:
            self._open.clear()
        else:
            self._reset()

    def _reset(self) -> None:
        for writer in tuple(self._writers):
            _close(writer)


def _close(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    found: socket.socket | None = writer.get_extra_info("socket")
    with suppress(OSError):
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
