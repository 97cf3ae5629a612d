"""Servers of images, good and bad, and one that nobody may make a service call."""

import asyncio
import gzip
import ssl
from contextlib import asynccontextmanager

from services.orchestrator.endpoints.processes import free_ports
from tests.attacks.bystander import IMAGE
from tests.attacks.target import MIB
from tests.rpc.access.authority import Authority

ALLOWED, SECRET = "127.0.0.2", "127.0.0.3"
"""The network of image servers, and one that is not public."""
NAMES = {
    "images.test": [ALLOWED],
    "private.test": ["10.0.0.1"],
    "metadata.test": ["169.254.169.254"],
    "secret.test": [SECRET],
    "both.test": [ALLOWED, SECRET],
    "mapped.test": ["::ffff:127.0.0.3"],
    "inner.test": ["fd00::1"],
    "rebinding.test": [ALLOWED],
    "localhost": ["127.0.0.1"],
}
NUMBERS = ("2130706433", "0x7f000003", "127.3")
"""Names that the system's resolver reads as addresses of this machine."""


def hosts_of(**changed):
    named = NAMES | {name.replace("_", "."): addresses for name, addresses in changed.items()}
    return "".join(f"{each} {name}\n" for name, all_ in named.items() for each in all_)


class Origins:
    """Servers on the allowed address and on the secret one, at the same port.

    The path of a request chooses the reply. `secrets`: connections to the secret server.
    """

    def __init__(self, folder):
        (self.port,) = free_ports(1)
        self.authority = Authority(folder, "origins")
        self.hosts = folder / "hosts"
        self.hosts.write_text(hosts_of())
        self.paths, self.secrets = [], 0
        certificate = self.authority.issue("origin", *NAMES, "*.test")
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(*certificate)
        self._wrong = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._wrong.load_cert_chain(*Authority(folder, "nobody").issue("nobody", *NAMES))

    def url(self, path, host="images.test"):
        return f"https://{host}:{self.port}{path}"

    @asynccontextmanager
    async def serving(self, *, wrong=False):
        servers = [
            await asyncio.start_server(
                handle, address, self.port, ssl=self._wrong if wrong else self._tls
            )
            for address, handle in (
                (ALLOWED, self._answer),
                (SECRET, self._leak),
                ("127.0.0.1", self._leak),
            )
        ]
        self.secrets = 0
        try:
            yield
        finally:
            for server in servers:
                server.close()

    async def _leak(self, reader, writer):
        self.secrets += 1
        writer.write(_reply("200 OK", IMAGE))
        writer.close()

    async def _answer(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split()[1].decode()
            self.paths.append(path)
            await REPLIES[path.partition("?")[0]](self, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()


def _reply(status, body, *headers):
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _fixed(status, body, *headers):
    async def answer(origins, writer):
        there = [each.replace("PORT", str(origins.port)) for each in headers]
        writer.write(_reply(status, body, *there))
        await writer.drain()

    return answer


async def _endless(origins, writer):
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(256):
        writer.write(b"100000\r\n" + bytes(MIB) + b"\r\n")
        await writer.drain()


async def _drip(origins, writer):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _silent(origins, writer):
    await asyncio.sleep(60)


async def _headers(origins, writer):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(100):
        writer.write(b"x: " + b"y" * 60_000 + b"\r\n")
        await writer.drain()


BOMB = gzip.compress(bytes(64 * MIB))
REPLIES = {
    "/image": _fixed("200 OK", IMAGE),
    "/redirect": _fixed("302 Found", b"", "location: https://secret.test:PORT/image"),
    "/forever": _fixed("307 Temporary Redirect", b"", "location: https://images.test:PORT/forever"),
    "/file": _fixed("301 Moved Permanently", b"", "location: file:///etc/passwd"),
    "/refresh": _fixed("200 OK", b"<svg/>", "refresh: 0; url=https://secret.test:PORT/image"),
    "/html": _fixed("200 OK", b"<img src='https://secret.test/'>", "content-type: image/png"),
    "/bomb": _fixed("200 OK", BOMB, "content-encoding: gzip"),
    "/part": _fixed("206 Partial Content", IMAGE, "content-range: bytes 0-9/10"),
    "/login": _fixed("401 Unauthorized", b"", 'www-authenticate: Negotiate, Basic realm="x"'),
    "/hints": _fixed("103 Early Hints", b"", "link: <https://secret.test:PORT/>; rel=preload"),
    "/upgrade": _fixed("101 Switching Protocols", b"", "connection: upgrade", "upgrade: h2c"),
    "/long": _fixed("200 OK", b"x", "content-length: 99999999999999999999"),
    "/endless": _endless,
    "/drip": _drip,
    "/silent": _silent,
    "/headers": _headers,
}
