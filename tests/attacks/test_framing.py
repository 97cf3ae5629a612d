"""Requests whose ends, lengths and codings a proxy may read in another way than the service."""

import gzip
import json
import zlib

import pytest

from tests.attacks.attack import Attack, over_http, over_socket, withstand
from tests.attacks.bystander import besieged
from tests.attacks.outcomes import raw
from tests.attacks.target import PATIENCE_S
from tests.attacks.test_connections import BODY
from tests.attacks.test_http import FORM, JSON, PICTURE, QUESTION, TAKEN, body
from tests.http2 import connected

pytestmark = pytest.mark.slow
HEAD = b"POST /v1/vqa HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%s\r\n" % (len(BODY), BODY)
REFUSED = ("400", "CLOSED")
BOMB = 64 * 2**20


def coded(name, coding, more=b""):
    sent = HEAD + more + b"Transfer-Encoding: " + coding + b"\r\n\r\n" + CHUNK + b"0\r\n\r\n"
    return over_socket(name, sent, expected=REFUSED)


def in_chunks(name, chunks, expected=REFUSED):
    return over_socket(name, HEAD + CHUNKED + chunks, expected=expected)


SMUGGLED = [
    over_socket(
        "two hosts", b"GET /livez HTTP/1.1\r\nHost: a\r\nHOST: b\r\n\r\n", expected=REFUSED
    ),
    coded("a coding that sounds like chunks", b"xchunked"),
    coded("chunks before another coding", b"chunked, identity"),
    coded("a coding after a vertical tab", b"\x0bchunked"),
    coded("two codings and a length", b"chunked", b"Transfer-Encoding: x\r\nContent-Length: 1\r\n"),
    in_chunks("a size in another base", b"0x%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    in_chunks("a size with a sign", b"+%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    in_chunks("a size with a blank before", b" %x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    in_chunks("a chunk longer than its size", b"1\r\n{}\r\n0\r\n\r\n"),
    in_chunks("a chunk that ends in a line feed", b"2\n{}\n0\n\n"),
    over_socket(
        "lines that end in a line feed",
        b"POST /v1/vqa HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}",
        expected=("400", "CLOSED"),
    ),
    over_socket(
        "lines that end in a carriage return",
        b"GET /livez HTTP/1.1\rHost: a\r\r",
        b"\r\n\r\n",
        expected=REFUSED,
    ),
    over_socket("a version without headers", b"GET /livez\r\n\r\n", expected=("200", "400")),
    over_socket(
        "a version to come", b"GET /livez HTTP/9.9\r\nHost: a\r\n\r\n", expected=("400", "505")
    ),
    over_socket(
        "an expectation that is none",
        HEAD + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}",
        expected=("400", "417"),
    ),
    over_socket(
        "an upgrade to WebSocket",
        b"GET /v1/vqa HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        expected=("400", "405", "426"),
    ),
]


@pytest.mark.parametrize("attack", SMUGGLED, ids=str)
async def test_requests_that_two_readers_read_differently(student, attack):
    await withstand(student, attack)


ENDLESS = {
    "trailers": (CHUNKED + CHUNK + b"0\r\n", b"x: " + b"y" * 60_000 + b"\r\n"),
    "a trailer": (CHUNKED + CHUNK + b"0\r\nx: ", b"y" * 60_000),
    "an extension of a chunk": (CHUNKED + b"1;a=", b"y" * 60_000),
    "chunks of a byte": (CHUNKED, b"1\r\n{\r\n" * 10_000),
    "a chunk's size": (CHUNKED, b"0" * 60_000),
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_a_body_with_endless(student, kind):
    first, more = ENDLESS[kind]
    await _refused_before(student, HEAD + first, more)


async def test_blank_lines_before_a_request_without_end(student):
    await _refused_before(student, b"\r\n", b"\r\n" * 30_000)


async def _refused_before(target, first, more, most=64 * 2**20):
    async with (
        besieged(target) as bystander,
        connected(target.service.http_port, first) as caller,
    ):
        sent = 0
        while sent < most and not caller.received and await caller.write(more):
            sent += len(more)
        await bystander.is_served()
        assert await caller.is_hung_up(PATIENCE_S)
    assert sent < most
    assert not caller.received or caller.received.split()[1] in (b"400", b"413", b"431")


async def test_a_key_in_a_trailer_opens_nothing(guarded, keys):
    """A proxy that checks or replaces the header does not see it."""
    trailer = f"0\r\nauthorization: Bearer {keys.tokens['ask']}\r\n\r\n".encode()

    async def send(target):
        return await raw(target.service.http_port, HEAD + CHUNKED + CHUNK + trailer)

    await withstand(guarded, Attack("a trailer", send, ("401",)))


DEFLATED = zlib.compress(bytes(BOMB))
CODED = [
    over_http(
        f"a body packed by {coding}",
        content=content,
        headers={**JSON, "content-encoding": coding},
        expected=("400", "413", "415"),
    )
    for coding, content in (
        ("gzip", gzip.compress(bytes(BOMB))),
        ("deflate", DEFLATED),
        ("gzip, gzip", gzip.compress(gzip.compress(bytes(BOMB)))),
        ("br", bytes(range(256)) * 100),
    )
]
PARTS = [
    over_http(
        "a file's name upwards",
        content=QUESTION + PICTURE.replace(b"i.png", b"../../../etc/passwd") + b"--b--\r\n",
        headers=FORM,
        expected=TAKEN,
    ),
    over_http(
        "a part in base64",
        content=QUESTION
        + PICTURE.replace(b"\r\n\r\n", b"\r\ncontent-transfer-encoding: base64\r\n\r\n", 1)
        + b"--b--\r\n",
        headers=FORM,
        expected=TAKEN,
    ),
    over_http(
        "a form within a form",
        content=PICTURE.replace(b"image/png", b"multipart/mixed; boundary=b") + b"--b--\r\n",
        headers=FORM,
    ),
    over_http("a field twice", content=QUESTION * 2 + PICTURE + b"--b--\r\n", headers=FORM),
]
DOUBLE = b'{"question": "a", "q\\u0075estion": "b", ' + body()[1:]
VALUES = [
    over_http("a key twice, once in escapes", content=DOUBLE, headers=JSON),
    over_http(
        "a number of 10^999999999",
        content=b'{"image": 1e999999999, "question": "a"}',
        headers=JSON,
    ),
]


TIMES = [
    over_http(name, content=body(), headers={**JSON, "x-request-timeout": value}, expected=expected)
    for name, value, expected in (
        ("no time", "0", ("400",)),
        ("less than no time", "-1", ("400",)),
        ("a time that is no number", "nan", ("400",)),
        ("for ever", "inf", ("400",)),
        ("a time in other digits", "\u0663".encode(), ("200", "400")),
        ("a nanosecond", "1e-9", ("429", "503", "504")),
    )
]


@pytest.mark.parametrize("attack", PARTS, ids=str)
async def test_odd_parts_of_a_form(student, attack):
    await withstand(student, attack)


async def test_packed_bodies(student):
    """Nothing is unpacked: a megabyte can't become a gigabyte."""
    await withstand(student, *CODED)


async def test_numbers_without_end_and_names_twice(student):
    await withstand(student, *VALUES)


async def test_odd_times_to_wait(student):
    await withstand(student, *TIMES)


async def test_fields_of_a_chat_twice(student):
    """The last value counts, as in OpenAI's own API; nobody else's request changes."""
    turns = json.dumps([{"role": "user", "content": "what?"}]).encode()
    content = b'{"messages": [], "messages": ' + turns + b', "messages": []}'
    attack = over_http(
        "a chat's field twice", path="/v1/chat/completions", content=content, headers=JSON
    )
    await withstand(student, attack)
