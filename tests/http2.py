"""HTTP/2 frames by hand: libraries send only valid ones."""

import asyncio
import struct
from contextlib import asynccontextmanager, suppress

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA = 0
HEADERS = 1
PRIORITY = 2
RST_STREAM = 3
SETTINGS = 4
PING = 6
GOAWAY = 7
WINDOW_UPDATE = 8
CONTINUATION = 9
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
CANCEL = struct.pack(">I", 8)
INITIAL_WINDOW_SIZE = 4


def frame(kind, flags=0, stream=0, payload=b""):
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


NO_WINDOW = PREFACE + frame(SETTINGS, payload=struct.pack(">HI", INITIAL_WINDOW_SIZE, 0))
"""The beginning of a caller that reads no reply before it widens a stream's window."""


def headers(path, address="a", **more):
    """A header block of a gRPC call, with each field as a literal outside any table."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": address,
        "te": "trailers",
        "content-type": "application/grpc",
        **more,
    }
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())


def _text(text):
    """A string in HPACK without Huffman code; its length has a 7-bit prefix."""
    data = text if isinstance(text, bytes) else text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, size = len(data) - 127, b"\x7f"
    while rest > 127:
        size, rest = size + bytes([rest & 127 | 128]), rest >> 7
    return size + bytes([rest]) + data


def opened_and_reset(stream, block, body=b""):
    """A call that is reset as soon as it is opened."""
    data = frame(DATA, END_STREAM, stream, body) if body else b""
    return frame(HEADERS, END_HEADERS, stream, block) + data + frame(RST_STREAM, 0, stream, CANCEL)


def message(request):
    """The DATA of a gRPC message."""
    data = request.SerializeToString()
    return b"\0" + struct.pack(">I", len(data)) + data


def called(path, request):
    """A whole call of one request, on stream 1."""
    body = frame(DATA, END_STREAM, 1, message(request))
    return frame(HEADERS, END_HEADERS, 1, headers(path)) + body


class Raw:
    """A connection that writes given bytes and ignores the replies."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.received = bytearray()
        self._reading = asyncio.create_task(self._read())

    async def _read(self):
        with suppress(OSError):
            while data := await self.reader.read(2**16):
                if len(self.received) < 2**20:
                    self.received += data

    @property
    def is_closed(self):
        """Whether the service has closed the connection."""
        return self._reading.done()

    async def write(self, data):
        """Writes, and returns whether the service read it within a few seconds."""
        if self.is_closed:
            return False
        self.writer.write(data)
        try:
            async with asyncio.timeout(5):
                await self.writer.drain()
                await asyncio.sleep(0)  # replies are read while the kernel takes every write
        except (OSError, TimeoutError):
            return False
        return True

    async def is_hung_up(self, timeout_s):
        """Whether the service closes the connection within `timeout_s`."""
        await asyncio.wait([self._reading], timeout=timeout_s)
        return self._reading.done()

    async def close(self):
        self._reading.cancel()
        self.writer.transport.abort()


@asynccontextmanager
async def connected(port, first=b"", address="127.0.0.1"):
    """A raw connection from `address`; `first` is written at once."""
    raw = Raw(*await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0)))
    try:
        if first:
            await raw.write(first)
        yield raw
    finally:
        await raw.close()


def speaking_http2(port):
    """A connection after the HTTP/2 preface, with unlimited flow control."""
    return connected(
        port, PREFACE + frame(SETTINGS) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30))
    )


def ended(raw):
    """Number of calls that the service has ended, each with a block of headers."""
    found, at = 0, 0
    while at + 9 <= len(raw.received):
        size, kind = int.from_bytes(raw.received[at : at + 3], "big"), raw.received[at + 3]
        found, at = found + (kind == HEADERS), at + 9 + size
    return found
