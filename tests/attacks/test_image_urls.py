"""Image URLs that would have the service call somebody whom nobody may make it call.

The service has a file of hosts of its own, which the attacker's name server writes: names of
private networks, of both kinds of network, and names that change between a check and a call.
"""

import asyncio
import base64
import gzip
import json
import os
import ssl
import subprocess
from contextlib import asynccontextmanager

import pytest

from services.orchestrator.endpoints.processes import free_ports
from tests import tools
from tests.attacks.attack import over_http, withstand
from tests.attacks.bystander import IMAGE, besieged
from tests.attacks.outcomes import request
from tests.attacks.target import MIB
from tests.attacks.test_completions import chat, part, turn
from tests.rpc.access.authority import Authority

pytestmark = pytest.mark.slow
ALLOWED, SECRET = "127.0.0.2", "127.0.0.3"
"""The network of image servers, and one that is not public."""
TIME_S = 2
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


@pytest.fixture(scope="package")
def origins(tmp_path_factory):
    return Origins(tmp_path_factory.mktemp("origins"))


@pytest.fixture
def fetching(targets, model, origins):
    """A student that reads images of the origins' names."""
    own_hosts = ("sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(origins.hosts))
    rights = () if os.geteuid() == 0 else ("--map-root-user",)
    unshare = (tools.program("unshare", "it gives a service hosts of its own"), "--mount", *rights)
    if subprocess.run([*unshare, *own_hosts, "true"], capture_output=True).returncode:
        tools.missing("this machine lets nobody mount: a service can't have hosts of its own")
    names = [f"{name}:{origins.port}" for name in (*NAMES, *NUMBERS)]
    return targets.get(
        "fetching",
        "student",
        model=model,
        within=(*unshare, *own_hosts),
        image_hosts=",".join(names),
        image_networks=f"{ALLOWED}/32",
        image_ca=origins.authority.path,
        image_url_s=TIME_S,
    )


def asked(url):
    return chat(url[:60], turn(part(url)), expected=("400", "413"))


async def are_refused(fetching, origins, *urls):
    await withstand(fetching, *map(asked, urls))
    assert origins.secrets == 0, "the secret server was called"


async def test_an_image_of_an_allowed_host_is_read(fetching, origins):
    """The attacks below fail by their own fault, and not since nothing is read at all."""
    async with origins.serving():
        attack = chat("an image", turn(part(origins.url("/image"))), expected=("200",))
        await withstand(fetching, attack)


PRIVATE = {
    "a private network": ["private.test", "inner.test"],
    "the machine's metadata": ["metadata.test"],
    "another service of this network": ["secret.test", "mapped.test"],
    "a public and a private address": ["both.test"],
    "this machine": ["localhost"],
    "this machine in numbers": NUMBERS,
}


@pytest.mark.parametrize("kind", PRIVATE)
async def test_an_allowed_name_of(fetching, origins, kind):
    async with origins.serving():
        urls = [origins.url("/image", name) for name in PRIVATE[kind]]
        await are_refused(fetching, origins, *urls)


async def test_a_name_that_changes_between_check_and_call(fetching, origins):
    """Rebinding: the name has a harmless address when it is checked, and a secret one later."""
    content = json.dumps({"messages": [turn(part(origins.url("/image", "rebinding.test")))]})

    async def rebind():
        while True:
            for address in (SECRET, ALLOWED):
                origins.hosts.write_text(hosts_of(rebinding_test=[address]))
                await asyncio.sleep(0.0005)

    async with besieged(fetching), origins.serving():
        rebinding = asyncio.create_task(rebind())
        outcomes = [
            await request(
                fetching.url,
                path="/v1/chat/completions",
                content=content,
                headers={"content-type": "application/json"},
            )
            for _ in range(60)
        ]
        rebinding.cancel()
        origins.hosts.write_text(hosts_of())
        assert origins.secrets == 0
    assert {outcome.status for outcome in outcomes} <= {"200", "400"}


@pytest.mark.parametrize("path", ["/redirect", "/forever", "/file", "/refresh", "/hints"])
async def test_a_reply_that_leads_elsewhere(fetching, origins, path):
    origins.paths.clear()
    async with origins.serving():
        await are_refused(fetching, origins, origins.url(path))
    assert origins.paths == [path], "it is asked once"


async def test_a_reply_that_is_no_image(fetching, origins):
    async with origins.serving():
        paths = ("/html", "/part", "/login", "/upgrade", "/long")
        await are_refused(fetching, origins, *map(origins.url, paths))


@pytest.mark.parametrize("path", ["/bomb", "/endless", "/drip", "/silent", "/headers"])
async def test_a_reply_without_an_end(fetching, origins, path):
    async with origins.serving():
        await are_refused(fetching, origins, origins.url(path))


async def test_a_server_with_a_certificate_of_another_authority(fetching, origins):
    async with origins.serving(wrong=True):
        origins.paths.clear()
        await are_refused(fetching, origins, origins.url("/image"))
    assert not origins.paths


async def test_many_images_that_never_come(fetching, origins):
    """They take up their caller's room for reading URLs, and no room for questions."""
    content = json.dumps({"messages": [turn(part(origins.url("/silent")))]})
    async with besieged(fetching) as bystander, origins.serving():
        asking = [
            asyncio.create_task(
                request(
                    fetching.url,
                    path="/v1/chat/completions",
                    content=content,
                    headers={"content-type": "application/json"},
                )
            )
            for _ in range(60)
        ]
        await bystander.is_served()
        statuses = {(await each).status for each in asking}
    assert statuses <= {"400", "429"}


SCHEMES = [
    "http://images.test:{port}/image",
    "gopher://images.test:{port}/_GET",
    "ftp://images.test:{port}/image",
    "file:///etc/passwd",
    "file://images.test/etc/passwd",
    "dict://images.test:{port}/x",
    "ldap://images.test:{port}/x",
    "jar:https://images.test:{port}/image!/",
    "blob:https://images.test/x",
    "javascript:fetch('/')",
    "unix:///var/run/docker.sock",
    "//images.test:{port}/image",
    "https:images.test",
]
LIKE_HOSTS = [
    "https://images.test:{port}@secret.test:{port}/image",
    "https://secret.test#@images.test:{port}/image",
    "https://images.test\\@secret.test:{port}/image",
    "https://images.test%2f.evil.test:{port}/image",
    "https://images.test.evil.test:{port}/image",
    "https://ｉmages.test.evil:{port}/image",
    "https://images.test:{port}\r\nhost: secret.test/image",
    "https://images.test:22/image",
]


async def test_other_schemes(fetching, origins):
    async with origins.serving():
        urls = [url.replace("{port}", str(origins.port)) for url in SCHEMES]
        await are_refused(fetching, origins, *urls)


async def test_hosts_that_look_like_an_allowed_one(fetching, origins):
    async with origins.serving():
        urls = [url.replace("{port}", str(origins.port)) for url in LIKE_HOSTS]
        await are_refused(fetching, origins, *urls)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="https://secret.test/"/></svg>'
XML = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><svg>&e;</svg>'
DATA = {
    "a page": ("text/html", b"<script src='https://secret.test/'></script>"),
    "a drawing that loads another": ("image/svg+xml", SVG),
    "a drawing that reads a file": ("image/svg+xml", XML),
    "a program": ("application/x-sh", b"#!/bin/sh\ntouch /tmp/attacked\n"),
    "a pickle": ("application/octet-stream", b"cos\nsystem\n(S'touch /tmp/attacked'\ntR."),
    "packed": ("image/png", gzip.compress(IMAGE)),
    "a data URI within": ("image/png", b"data:image/png;base64," + base64.b64encode(IMAGE)),
}


@pytest.mark.parametrize("kind", DATA)
async def test_data_that_is_no_image(student, kind):
    media, data = DATA[kind]
    await withstand(student, asked(f"data:{media};base64,{base64.b64encode(data).decode()}"))


async def test_data_in_another_coding(student):
    urls = ("data:image/png,%89PNG", "data:;base64;base64,", "data:" + "a" * 10_000, "DATA:,")
    await withstand(student, *map(asked, urls))


async def test_an_image_in_vqa_is_never_a_url(fetching, origins):
    async with origins.serving():
        origins.paths.clear()
        urls = origins.url("/image"), origins.url("/image", "secret.test")
        await withstand(
            fetching, *(over_http(url, json={"image": url, "question": "what?"}) for url in urls)
        )
        assert not origins.paths and not origins.secrets
