"""Floods of HTTP/2 frames at the gRPC port: reset streams, settings, pings, endless headers."""

import asyncio
import itertools
import os
import struct

import pytest

from protos.mpa.v1 import student_pb2, types_pb2
from tests.attacks.bystander import IMAGE, besieged
from tests.attacks.outcomes import ANSWER, ANSWER_STREAM
from tests.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    SETTINGS,
    WINDOW_UPDATE,
    connected,
    frame,
    headers,
    message,
    opened_and_reset,
    speaking_http2,
)

pytestmark = pytest.mark.slow
FLOOD_S = 4.0
BLOCK = headers(ANSWER)
REQUEST = message(student_pb2.AnswerRequest(image=types_pb2.Image(data=IMAGE), question="what?"))


async def flood(raw, pieces, seconds=FLOOD_S):
    """Writes until the service hangs up or time is up. Returns the number of pieces written."""
    end = asyncio.get_running_loop().time() + seconds
    count = 0
    for piece in pieces:
        if asyncio.get_running_loop().time() > end or not await raw.write(piece):
            break
        count += 1
    return count


def hundreds(make, first=1, step=2, at_once=100):
    """Frames for stream after stream, many in one write."""
    streams = itertools.count(first, step)
    while True:
        yield b"".join(make(next(streams)) for _ in range(at_once))


@pytest.mark.parametrize("body", [b"", REQUEST], ids=["headers alone", "whole requests"])
async def test_rapid_reset_from_two_connections(student, body):
    async with besieged(student) as bystander:
        port = student.service.grpc_port
        async with speaking_http2(port) as one, speaking_http2(port) as two:
            pieces = (
                hundreds(lambda stream: opened_and_reset(stream, BLOCK, body)) for _ in range(2)
            )
            counts = await asyncio.gather(
                *(flood(raw, some) for raw, some in zip((one, two), pieces, strict=True))
            )
            assert sum(counts) > 0
            await bystander.is_served()


async def test_rapid_reset_again_and_again(student):
    """Callers reconnect after their connection was closed."""
    async with besieged(student):
        for _ in range(20):
            async with speaking_http2(student.service.grpc_port) as raw:
                await flood(
                    raw, hundreds(lambda stream: opened_and_reset(stream, BLOCK, REQUEST)), 0.2
                )


async def test_streams_that_are_opened_and_left(student):
    async with besieged(student) as bystander, speaking_http2(student.service.grpc_port) as raw:
        await flood(raw, hundreds(lambda stream: frame(HEADERS, END_HEADERS, stream, BLOCK)))
        await bystander.is_served()


async def test_bulk_streams_that_are_opened_and_left_on_many_connections(student):
    block = headers(ANSWER_STREAM)
    async with besieged(student) as bystander, asyncio.TaskGroup() as group:
        left = asyncio.Event()

        async def leave_open():
            async with speaking_http2(student.service.grpc_port) as raw:
                await raw.write(
                    b"".join(
                        frame(HEADERS, END_HEADERS, stream, block) for stream in range(1, 200, 2)
                    )
                )
                await left.wait()

        for _ in range(20):
            group.create_task(leave_open())
        await asyncio.sleep(1.0)
        await bystander.is_served()
        left.set()


@pytest.mark.parametrize(
    "path", [b"/x\xff\xfe", b"/\xed\xa0\x80", b"\x00", b"/", b"", b"x" * 9_000]
)
async def test_methods_that_nobody_can_read(student, path):
    async with besieged(student) as bystander, speaking_http2(student.service.grpc_port) as raw:
        await flood(
            raw,
            hundreds(
                lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, headers(path)),
                at_once=5,
            ),
            1,
        )
        await bystander.is_served()


FLOODS = {
    "settings": lambda: itertools.repeat(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100)) * 500),
    "pings": lambda: itertools.repeat(frame(PING, 0, 0, b"12345678") * 500),
    "priorities": lambda: hundreds(
        lambda stream: frame(PRIORITY, 0, stream, struct.pack(">IB", 0, 1)), at_once=500
    ),
    "window updates of nothing": lambda: itertools.repeat(
        frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0)) * 500
    ),
    "window updates beyond all bounds": lambda: itertools.repeat(
        frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1))
    ),
    "frames of an unknown kind": lambda: itertools.repeat(frame(0x77, 0xFF, 0, bytes(1000)) * 50),
    "empty data on a stream": lambda: itertools.chain(
        [frame(HEADERS, END_HEADERS, 1, BLOCK)], itertools.repeat(frame(DATA, 0, 1) * 500)
    ),
    "headers that never end": lambda: itertools.chain(
        [frame(HEADERS, 0, 1, BLOCK)],
        itertools.repeat(frame(CONTINUATION, 0, 1, headers("/", x="y" * 15_000))),
    ),
    "empty headers that never end": lambda: itertools.chain(
        [frame(HEADERS, 0, 1, BLOCK)], itertools.repeat(frame(CONTINUATION, 0, 1) * 500)
    ),
    "headers of a megabyte": lambda: hundreds(
        lambda stream: (
            frame(HEADERS, 0, stream, BLOCK)
            + b"".join(
                frame(CONTINUATION, 0, stream, headers("/", **{f"x{n}": "y" * 16_000}))
                for n in range(64)
            )
            + frame(CONTINUATION, END_HEADERS, stream)
        ),
        at_once=1,
    ),
    "random bytes": lambda: (os.urandom(10_000) for _ in range(100)),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_floods_of_frames(student, kind):
    async with besieged(student) as bystander, speaking_http2(student.service.grpc_port) as raw:
        await flood(raw, FLOODS[kind]())
        await bystander.is_served()


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(200),
        PREFACE,
        b"",
        bytes(10_000),
    ],
    ids=["HTTP/1.1", "TLS", "a preface and silence", "silence", "zeros"],
)
async def test_connections_that_speak_no_http2(student, first):
    async with besieged(student) as bystander:
        raws = [connected(student.service.grpc_port, first) for _ in range(100)]
        opened = [await raw.__aenter__() for raw in raws]
        await bystander.is_served()
        assert len(opened) == 100
        for raw in raws:
            await raw.__aexit__(None, None, None)
