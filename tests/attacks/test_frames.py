"""gRPC frames by hand: odd headers, lying lengths, packed bombs, windows that never open."""

import asyncio
import gzip
import struct

import pytest

from protos.mpa.v1 import student_pb2, types_pb2
from tests.attacks.bystander import IMAGE, besieged
from tests.attacks.outcomes import ANSWER, ANSWER_STREAM
from tests.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    connected,
    ended,
    frame,
    headers,
    message,
    speaking_http2,
)

pytestmark = pytest.mark.slow
ANSWERED_WITHIN_S = 3.0
REQUEST = student_pb2.AnswerRequest(image=types_pb2.Image(data=IMAGE), question="what?")
WHOLE = message(REQUEST)
WINDOW = 4


def call(block, data=WHOLE, stream=1):
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, data)


async def exchange(target, sent, seconds=ANSWERED_WITHIN_S, preface=None):
    """The bytes that are returned within a time, or until the first block of headers."""
    opened = (
        speaking_http2(target.service.grpc_port)
        if preface is None
        else connected(target.service.grpc_port, preface)
    )
    async with opened as caller:
        await caller.write(sent)
        end = asyncio.get_running_loop().time() + seconds
        while not caller.is_closed and asyncio.get_running_loop().time() < end:
            if ended(caller) or has(caller, RST_STREAM) or has(caller, GOAWAY):
                break
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.05)
        return bytes(caller.received)


def is_ok(received):
    return b"grpc-status\x010" in received


def has(caller, kind):
    at = 0
    while at + 9 <= len(caller.received):
        if caller.received[at + 3] == kind:
            return True
        at += 9 + int.from_bytes(caller.received[at : at + 3], "big")
    return False


KEYS = {
    "a name in capitals": lambda token: {"Authorization": f"Bearer {token}"},
    "all capitals": lambda token: {"AUTHORIZATION": f"Bearer {token}"},
    "a name with a blank": lambda token: {"authorization ": f"Bearer {token}"},
    "a name with a NUL": lambda token: {"authorization\0": f"Bearer {token}"},
    "a name of a proxy": lambda token: {"proxy-authorization": f"Bearer {token}"},
    "a binary name": lambda token: {"authorization-bin": f"Bearer {token}"},
    "a value with a line end": lambda token: {"authorization": f"Bearer x\r\nBearer {token}"},
}


async def test_a_key_under_another_name_opens_nothing(guarded, keys):
    """In capitals, with blanks or NUL, in a binary header, after a line end."""
    token = keys.tokens["ask"]
    blocks = [headers(ANSWER, **metadata(token)) for metadata in KEYS.values()]
    async with besieged(guarded):
        received = await asyncio.gather(*(exchange(guarded, call(block)) for block in blocks))
    assert not any(is_ok(each) for each in received)


async def test_a_key_for_two_opens_nothing(guarded, keys):
    """Metadata twice: a proxy may have checked the other one."""
    one = headers(ANSWER, authorization=f"Bearer {keys.tokens['read']}")
    two = b"\0\x0dauthorization"
    value = f"Bearer {keys.tokens['ask']}".encode()
    block = one + two + bytes([len(value)]) + value
    async with besieged(guarded):
        received = await exchange(guarded, call(block))
    assert b"UNAUTHENTICATED" in received or b"grpc-status\x0216" in received


async def test_a_method_in_other_letters_is_none(guarded, keys):
    token = {"authorization": f"Bearer {keys.tokens['ask']}"}
    async with besieged(guarded):
        for path in (
            ANSWER.lower(),
            ANSWER + "/",
            ANSWER + "?a=b",
            "/" + ANSWER,
            "http://a" + ANSWER,
        ):
            received = await exchange(guarded, call(headers(path, **token)))
            assert b"v1" not in received, path


ODD: dict[str, dict[str, str | bytes]] = {
    "no content type": {"content-type": ""},
    "another content type": {"content-type": "text/html"},
    "no trailers": {"te": "gzip"},
    "another method": {":method": "GET"},
    "another scheme": {":scheme": "javascript"},
    "no authority": {":authority": ""},
    "an authority with a path": {":authority": "a/../../b\0"},
    "a second path": {":path ": "/"},
    "a pseudo header of its own": {":admin": "true"},
    "a connection of HTTP/1": {"connection": "keep-alive, te"},
    "a time of no unit": {"grpc-timeout": "1"},
    "a time of many digits": {"grpc-timeout": "9" * 100 + "H"},
    "less than no time": {"grpc-timeout": "-1S"},
    "no time": {"grpc-timeout": "0n"},
    "a coding that does not exist": {"grpc-encoding": "klingon"},
    "codings without end": {"grpc-accept-encoding": "gzip," * 1_000},
    "a status of its own": {"grpc-status": "0", "grpc-message": "OK"},
    "a trace of another": {"traceparent": "00-" + "f" * 32 + "-" + "f" * 16 + "-ff" * 20},
    "state of a trace": {"tracestate": "a=b," * 1_500},
    "baggage": {"baggage": "a=b," * 1_500},
    "a binary header that is no base64": {"x-bin": "*" * 100},
    "a header of capitals": {"X-Y": "z"},
    "a header without a name": {"": "z"},
    "a name beyond ASCII": {"x-é": "é"},
    "a value that is not UTF-8": {"x": b"\xbe\xff"},
}


@pytest.mark.parametrize("body", [WHOLE, b""], ids=["whole", "empty"])
async def test_odd_headers(student, body):
    """A call with them is answered or refused, and every other call is answered."""
    calls = [call(headers(ANSWER, **more), body) for more in ODD.values()]
    async with besieged(student):
        await asyncio.gather(*(exchange(student, each, seconds=1.0) for each in calls))


def prefixed(flag, size, data=b""):
    return bytes([flag]) + struct.pack(">I", size) + data


LIES = {
    "a message of 4 GB, which ends at once": prefixed(0, 2**32 - 1, b"x"),
    "a message beyond the limit": prefixed(0, 33 * 2**20, bytes(1_000)),
    "a message shorter than it says": prefixed(0, 100, b"x"),
    "a packed message without a coding": prefixed(1, 4, b"abcd"),
    "an unknown flag": prefixed(0xFE, 4, b"abcd"),
    "half a prefix": b"\0\0",
    "two messages for one": WHOLE + WHOLE,
}


@pytest.mark.parametrize("kind", LIES)
async def test_messages_that_lie_about_their_length(student, kind):
    async with besieged(student):
        received = await exchange(student, call(headers(ANSWER), LIES[kind]))
    assert kind == "two messages for one" or not is_ok(received)


@pytest.fixture(scope="module")
def bomb():
    """A gigabyte of zeros in a megabyte."""
    return gzip.compress(bytes(2**30))


@pytest.mark.parametrize("method", [ANSWER, ANSWER_STREAM])
async def test_a_packed_bomb(student, bomb, method):
    async with besieged(student):
        block = headers(method, **{"grpc-encoding": "gzip"})
        data = prefixed(1, len(bomb), bomb)
        pieces = [data[at : at + 16_000] for at in range(0, len(data), 16_000)]
        sent = frame(HEADERS, END_HEADERS, 1, block)
        sent += b"".join(frame(DATA, 0, 1, piece) for piece in pieces)
        received = await exchange(student, sent + frame(DATA, END_STREAM, 1))
    assert b"\x02v1" not in received, "it was answered"


async def test_windows_that_never_open(student):
    """Replies that may not be sent: calls wait, and others are served."""
    shut = PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", WINDOW, 0))
    async with besieged(student) as bystander:
        opened = [connected(student.service.grpc_port, shut) for _ in range(20)]
        callers = [await each.__aenter__() for each in opened]
        for caller in callers:
            for stream in range(1, 40, 2):
                await caller.write(call(headers(ANSWER), stream=stream))
        await bystander.is_served()
        for each in opened:
            await each.__aexit__(None, None, None)


async def test_a_window_that_opens_by_a_byte(student):
    shut = PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", WINDOW, 0))
    async with (
        besieged(student) as bystander,
        connected(student.service.grpc_port, shut) as caller,
    ):
        await caller.write(call(headers(ANSWER)))
        for _ in range(50):
            await caller.write(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)))
            await asyncio.sleep(0.01)
        await bystander.is_served()


TABLES = {
    "an index beyond the table": b"\xff\xff\xff\xff\x0f",
    "a table of 4 GB": b"\x3f\xe1\xff\xff\xff\x0f",
    "an entry named a million times": b"\x40\x01x"
    + b"\x7f\xa0\x1f"
    + b"y" * 4_000
    + b"\xbe" * 8_000,
    "a Huffman code without end": b"\0\x01x\xff" + b"\xff" * 200,
    "a string of 4 GB": b"\0\x7f\xff\xff\xff\xff\x0f",
}


async def test_tables_of_headers(student):
    """HPACK: a few bytes that would take much memory, or that mean nothing."""
    calls = [call(headers(ANSWER) + table) for table in TABLES.values()]
    async with besieged(student) as bystander:
        for _ in range(10):
            await asyncio.gather(*(exchange(student, each, seconds=0.2) for each in calls))
        await bystander.is_served()
