"""Image URLs: a TLS server with a certificate of an authority made here, and attackers."""

import asyncio
import gzip
import ssl
from contextlib import asynccontextmanager

import pytest
import trustme

from services.core.errors import InvalidImage, Overloaded
from services.engines.images import MAX_BYTES
from services.environment import Environment
from services.rpc.http.completions.hosts import ImageUrlSettings
from services.rpc.http.completions.images import ImageUrls
from services.rpc.http.limits import Quota
from tests.pictures import png

IMAGE = png()
LOOPBACK = "127.0.0.0/8,::1/128"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def trusted(authority, tmp_path_factory):
    """The authority's certificate, as a file."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


class Origin:
    """A server of one reply, which notes the heads of its requests."""

    def __init__(self, port):
        self.port = port
        self.heads = []

    @property
    def url(self):
        return f"https://localhost:{self.port}/a.png"


def whole(body=IMAGE, status="200 OK", *headers):
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "content-type: text/html"]
    return "\r\n".join([*lines, *headers]).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def origin(authority, reply, name="localhost"):
    """`reply`: bytes, or a function that writes to a connection until it is closed."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(tls)
    served = Origin(0)

    async def handle(reader, writer):
        try:
            served.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()


def urls(served, ca="", hosts="", networks=LOOPBACK, seconds="10"):
    """A reader that allows the server, or `hosts`."""
    given = {
        "X_IMAGE_HOSTS": hosts or f"localhost:{served.port}",
        "X_IMAGE_NETWORKS": networks,
        "X_IMAGE_CA": ca,
        "X_IMAGE_URL_S": seconds,
    }
    return ImageUrls(ImageUrlSettings.from_environment(Environment("X_", given)))


async def fetched(reader, url, uploads=None):
    quota = uploads or Quota("bytes", 2**26, 2**26)
    async with reader.received(url, quota, "me") as image:
        assert quota.total == (0 if url[:5].lower() == "data:" else len(image))
        return image


async def refusal(reader, url):
    quota = Quota("bytes", 2**26, 2**26)
    with pytest.raises(InvalidImage) as refused:
        await fetched(reader, url, quota)
    assert quota.total == 0, "the bytes are given back"
    return str(refused.value)


async def test_an_image_of_an_allowed_host_is_read(authority, trusted):
    async with origin(authority, whole()) as served:
        assert await fetched(urls(served, trusted), served.url) == IMAGE
        assert await fetched(urls(served, trusted), served.url.upper().replace("A.PNG", "a?b")) == (
            IMAGE
        )
    head = served.heads[0].lower()
    assert head.startswith("get /a.png http/1.1")
    assert f"host: localhost:{served.port}" in head, "the name, although an address is called"
    assert "accept-encoding: identity" in head
    assert "cookie" not in head
    assert "authorization" not in head


async def test_without_a_setting_no_host_is_called():
    message = await refusal(ImageUrls(), "https://example.com/a.png")
    assert "MPA_STUDENT_IMAGE_HOSTS" in message


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:{port}/a.png",
        "HTTP://localhost:{port}/a.png",
        "ftp://localhost:{port}/a.png",
        "file:///etc/passwd",
        "gopher://localhost:{port}/",
        "//localhost:{port}/a.png",
        "localhost:{port}/a.png",
        "",
        "https://",
        "https:///a.png",
        "https://localhost/a.png",
        "https://localhost:1/a.png",
        "https://localhost:99999/a.png",
        "https://localhost:{port}:{port}/a.png",
        "https://user@localhost:{port}/a.png",
        "https://localhost:{port}@evil.example/a.png",
        "https://localhost%40evil.example:{port}/a.png",
        "https://localhost:{port}\\@evil.example/a.png",
        "https://evil.example#@localhost:{port}/a.png",
        "https://evil.example?@localhost:{port}/a.png",
        "https://evil.example/localhost:{port}/a.png",
        "https://localhost.evil.example:{port}/a.png",
        "https://localhost.:{port}/a.png",
        "https://127.0.0.1:{port}/a.png",
        "https://2130706433:{port}/a.png",
        "https://0x7f000001:{port}/a.png",
        "https://127.1:{port}/a.png",
        "https://[::1]:{port}/a.png",
        "https://[::ffff:127.0.0.1]:{port}/a.png",
        "https://l\u043ecalhost:{port}/a.png",
        "https://\u24d4vil.example:{port}/a.png",
        "https://local\u00adhost.evil:{port}/a.png",
        "https://localhost\n:{port}/a.png",
        "https://localhost\r\nx: y:{port}/a.png",
        "https://localhost\0:{port}/a.png",
        "https://local host:{port}/a.png",
        "https://xn--:{port}/a.png",
        "https://" + "a" * 70_000 + "/a.png",
    ],
)
async def test_another_host_is_never_called(authority, trusted, url):
    async with origin(authority, whole()) as served:
        await refusal(urls(served, trusted), url.replace("{port}", str(served.port)))
        assert served.heads == []


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "169.254.169.254", "2852039166", "0xa9fea9fe", "10.1", "[::1]"],
)
async def test_an_allowed_name_in_a_private_network_is_not_called(authority, trusted, host):
    """A number is a name, which the system's resolver knows."""
    async with origin(authority, whole()) as served:
        reader = urls(served, trusted, hosts=f"{host}:{served.port}", networks="")
        message = await refusal(reader, f"https://{host}:{served.port}/a.png")
        assert "not public" in message
        assert served.heads == []


async def test_a_network_that_is_allowed_admits_no_other(authority, trusted):
    async with origin(authority, whole()) as served:
        reader = urls(served, trusted, networks="127.0.0.2/32,10.0.0.0/8,::1/128")
        assert "not public" in await refusal(reader, served.url)


@pytest.mark.parametrize(
    "status",
    ["301 Moved", "302 Found", "307 Temporary", "304 Not Modified", "204 No", "404 No", "500 No"],
)
async def test_a_redirect_is_not_followed_and_an_error_is_no_image(authority, trusted, status):
    async with origin(authority, whole()) as secret:
        there = f"location: https://localhost:{secret.port}/secret"
        async with origin(authority, whole(IMAGE, status, there)) as served:
            message = await refusal(urls(served, trusted), served.url)
        assert f"answers {status[:3]}, not 200" in message
        assert secret.heads == []


async def test_the_certificate_must_be_the_name_s_and_of_a_known_authority(authority, trusted):
    async with origin(authority, whole(), name="other.example") as served:
        assert "can't be read" in await refusal(urls(served, trusted), served.url)
    async with origin(authority, whole()) as served:
        assert "can't be read" in await refusal(urls(served), served.url)
        assert served.heads == []


async def test_a_slow_drip_ends_when_the_time_is_over(authority, trusted):
    async def drip(writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def silence(writer):
        await asyncio.sleep(60)

    for attack in (drip, silence):
        async with origin(authority, attack) as served:
            reader = urls(served, trusted, seconds="0.5")
            assert "within 0.5 s" in await refusal(reader, served.url)


async def test_an_endless_image_ends_at_the_limit(authority, trusted):
    sent = 0

    async def endless(writer):
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"100000\r\n" + b"x" * 2**20 + b"\r\n")
            await writer.drain()
            sent += 2**20

    async with origin(authority, endless) as served:
        assert "more than" in await refusal(urls(served, trusted), served.url)
    assert sent < 2 * MAX_BYTES


async def test_bytes_count_among_the_caller_s_uploads(authority, trusted):
    async with origin(authority, whole(b"x" * 100_000)) as served:
        quota = Quota("bytes of uploads", 50_000, 50_000)
        with pytest.raises(Overloaded):
            await fetched(urls(served, trusted), served.url, quota)
        assert quota.total == 0


async def test_a_coded_reply_is_not_unpacked(authority, trusted):
    bomb = gzip.compress(b"\0" * 2**26)
    async with origin(authority, whole(bomb, "200 OK", "content-encoding: gzip")) as served:
        assert "coded" in await refusal(urls(served, trusted), served.url)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 300_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_a_reply_that_is_no_http_is_the_callers_error(authority, trusted, reply):
    async with origin(authority, reply) as served:
        assert "can't be read" in await refusal(urls(served, trusted), served.url)


async def test_a_host_that_can_not_be_reached_is_the_callers_error(authority, trusted):
    async with origin(authority, whole()) as served:
        reader = urls(served, trusted)
    assert "can't be read" in await refusal(reader, served.url)
    missing = urls(served, trusted, hosts="nowhere.invalid")
    assert "can't be read" in await refusal(missing, "https://nowhere.invalid/a.png")
