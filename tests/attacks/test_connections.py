"""HTTP connections that are idle, half used, or abandoned: none may block other callers."""

import asyncio
import base64
import json
from contextlib import AsyncExitStack

import pytest

from tests.attacks.bystander import IMAGE, besieged
from tests.attacks.target import MIB
from tests.http2 import connected

pytestmark = pytest.mark.slow
HUNG_UP_WITHIN_S = 20.0
"""A guard against requests that never end."""
HALF = 500
START = b"POST /v1/vqa HTTP/1.1\r\nHost: a\r\n"
BODY = json.dumps({"image": base64.b64encode(IMAGE).decode(), "question": "what is 1?"}).encode()
WHOLE = START + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
UNFINISHED = {
    "half a request line": b"POST /v1/v",
    "half the headers": START + b"Content-Ty",
    "headers without a body": START
    + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
    "half a body": START
    + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    + BODY[:100],
    "half a form": START
    + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n--b\r\n",
    "an answered request, and half another": WHOLE + START,
}


async def hold(stack, port, first, count):
    """N connections that have each sent the same bytes."""
    return await asyncio.gather(
        *(stack.enter_async_context(connected(port, first)) for _ in range(count))
    )


@pytest.mark.parametrize("kind", UNFINISHED)
async def test_what_is_never_finished_is_hung_up_on(impatient, kind):
    async with besieged(impatient) as bystander, AsyncExitStack() as stack:
        raws = await hold(stack, impatient.service.http_port, UNFINISHED[kind], 20)
        hung_up = await asyncio.gather(*(raw.is_hung_up(HUNG_UP_WITHIN_S) for raw in raws))
        await bystander.is_served()
    assert all(hung_up), f"{hung_up.count(False)} of {len(hung_up)} are waited for still"


async def test_headers_that_come_a_byte_at_a_time(impatient):
    async with besieged(impatient) as bystander, AsyncExitStack() as stack:
        (raw,) = await hold(stack, impatient.service.http_port, START, 1)
        end = asyncio.get_running_loop().time() + HUNG_UP_WITHIN_S
        while not raw.is_closed and asyncio.get_running_loop().time() < end:
            await raw.write(b"x")
            await asyncio.sleep(0.1)
        await bystander.is_served()
    assert raw.is_closed


async def test_hundreds_of_half_sent_headers(student):
    """They are closed, or leave room: the bystander keeps its connection and gets new ones."""
    async with besieged(student) as bystander, AsyncExitStack() as stack:
        await hold(stack, student.service.http_port, UNFINISHED["half the headers"], HALF)
        await bystander.is_served()
        last = WHOLE.replace(b"Host: a", b"Host: a\r\nConnection: close")
        late = await stack.enter_async_context(
            connected(student.service.http_port, last, "127.0.0.3")
        )
        await late.is_hung_up(HUNG_UP_WITHIN_S)
        assert late.received.startswith(b"HTTP/1.1 200")


async def test_bodies_that_come_slowly(student):
    async with besieged(student) as bystander, AsyncExitStack() as stack:
        raws = await hold(stack, student.service.http_port, UNFINISHED["half a body"], 100)
        for _ in range(20):
            for raw in raws:
                await raw.write(b"x")
            await asyncio.sleep(0.1)
        await bystander.is_served()


async def test_a_thousand_requests_in_one_write(student):
    """Pipelined requests are answered, or the connection is closed."""
    async with besieged(student) as bystander, AsyncExitStack() as stack:
        (raw,) = await hold(stack, student.service.http_port, WHOLE * 1_000, 1)
        await bystander.is_served()
        await raw.is_hung_up(5)


async def test_callers_who_leave_before_the_answer(student):
    async with besieged(student) as bystander:
        for _ in range(20):
            async with AsyncExitStack() as stack:
                await hold(stack, student.service.http_port, WHOLE, 20)
        await bystander.is_served()


async def test_callers_who_leave_in_the_middle_of_an_upload(student):
    start = (
        START
        + b"Content-Type: application/json\r\nContent-Length: 20000000\r\n\r\n"
        + bytes(1_000_000)
    )
    async with besieged(student) as bystander:
        for _ in range(10):
            async with AsyncExitStack() as stack:
                await hold(stack, student.service.http_port, start, 5)
        await bystander.is_served()


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n',
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="question"\r\n\r\n',
        ),
        ("application/json", b'{"image": "'),
        ("application/octet-stream", b""),
    ],
    ids=["a file", "a field", "JSON", "bytes"],
)
async def test_a_body_in_chunks_without_end(student, kind, first):
    """It is refused as soon as it is larger than the largest image, before all 2 GB are sent."""
    most, piece = 256 * MIB, b"100000\r\n" + b"a" * MIB + b"\r\n"
    head = START + b"Content-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n" % kind.encode()
    sent = 0
    async with besieged(student) as bystander, AsyncExitStack() as stack:
        begun = head + (b"%x\r\n%s\r\n" % (len(first), first) if first else b"")
        (raw,) = await hold(stack, student.service.http_port, begun, 1)
        while sent < most and not raw.received and await raw.write(piece):
            sent += MIB
        await bystander.is_served()
    assert sent < most
    assert not raw.received or raw.received.split()[1] in (b"400", b"413")


async def test_three_hundred_connections_that_say_nothing(student):
    async with besieged(student) as bystander, AsyncExitStack() as stack:
        await hold(stack, student.service.http_port, b"", 300)
        await bystander.is_served()
