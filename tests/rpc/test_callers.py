"""Callers that take too much or send nothing, next to a caller that must be served."""

import asyncio
import itertools
import struct
from collections import Counter

import grpc
import pytest
from google.longrunning import operations_pb2

from protos.mpa.v1 import training_pb2
from services.rpc.interceptors.turnstile import CALL_LIMITS, UPLOADS, WAITS
from services.rpc.status import from_rpc_error
from services.rpc.window import MOST_HELD
from tests.http2 import (
    DATA,
    END_HEADERS,
    HEADERS,
    ended,
    frame,
    headers,
    opened_and_reset,
    speaking_http2,
)
from tests.rpc.callers import ANSWER, asking, item, raw, refusal, serving
from tests.waiting import until


async def test_calls_opened_and_reset_cost_no_other_caller_theirs(peer):
    await peer.answers.Answer(asking("connected"))
    block, streams = headers(ANSWER), itertools.count(1, 2)
    async with speaking_http2(peer.port) as one, speaking_http2(peer.port) as two:
        for _ in range(8):
            calls = b"".join(
                opened_and_reset(stream, block) for stream in itertools.islice(streams, 500)
            )
            for attacker in (one, two):
                await attacker.write(calls)
            assert (await peer.answers.Answer(asking("well?"), timeout=30)).answer == "well?"


@pytest.mark.parametrize("path", [b"/x\xff\xfe", b"/\xed\xa0\x80", b"\x00", b"/"])
async def test_a_method_that_nobody_can_read_is_unknown_and_the_server_lives(peer, path):
    async with speaking_http2(peer.port) as attacker:
        await attacker.write(frame(HEADERS, END_HEADERS, 1, headers(path)))
        assert await peer.is_served()


async def test_a_method_of_another_contract_is_unimplemented(peer):
    for method in (
        "/mpa.v1.StudentService/Later",
        "/google.longrunning.Operations/Later",
        "/nobody/Knows",
    ):
        refused = await refusal(raw(peer.channel, method, "unary_unary")(b""))
        assert refused.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("what", ["uploads", "waits"])
async def test_open_calls_of_one_kind_leave_the_others_their_room(peer, what):
    limits, calls = CALL_LIMITS[{"uploads": UPLOADS, "waits": WAITS}[what]], []
    for _ in range(limits.per_connection + 10):
        if what == "uploads":
            call = peer.training.UploadDataset()
            calls.append(call.read() if hasattr(call, "read") else call)
        else:
            calls.append(peer.operations.WaitOperation(operations_pb2.WaitOperationRequest()))
    outcomes = Counter()

    async def refused(call):
        outcomes[(await refusal(call)).code()] += 1

    tasks = [asyncio.ensure_future(refused(call)) for call in calls]
    await until(lambda: outcomes[grpc.StatusCode.RESOURCE_EXHAUSTED] == 10)
    assert await peer.is_served()
    for task in tasks:
        task.cancel()


@pytest.mark.slow
async def test_half_sent_messages_push_out_each_other(peer):
    """Each could fill 32 MiB of memory; the 256 of one connection, 8 GiB."""
    begun = b"\0" + struct.pack(">I", 30 * 2**20) + bytes(2_000)
    async with speaking_http2(peer.port) as attacker:
        for stream in range(1, 400, 2):
            await attacker.write(
                frame(HEADERS, END_HEADERS, stream, headers(ANSWER)) + frame(DATA, 0, stream, begun)
            )
        await until(lambda: ended(attacker) >= 100, timeout_s=25)
        assert await peer.is_served()


async def test_an_upload_that_is_refused_while_it_is_sent_is_told_why(peer):
    """gRPC's own error for a caller that still sends would be "Internal error from Core"."""
    images = [
        training_pb2.UploadDatasetRequest(image=image) for image in (b"full", *[bytes(2**20)] * 40)
    ]
    for _ in range(5):
        refused = await refusal(peer.training.UploadDataset(iter(images)))
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_upload_that_falls_silent_is_ended_and_told_why():
    async with serving(silence_s=0.2) as peer:
        upload = peer.training.UploadDataset()
        await upload.write(training_pb2.UploadDatasetRequest(image=b"x"))
        refused = await refusal(upload)
        assert refused.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "nothing came for 0.2 s" in refused.details()
        assert from_rpc_error(refused).reason == "SILENCE"


async def test_an_idle_stream_is_ended_in_order():
    async with serving(silence_s=1.0) as peer:
        stream = peer.answers.AnswerStream()
        await stream.write(item("1"))
        assert (await stream.read()).id == "1"
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK


@pytest.mark.slow
async def test_a_stream_that_is_written_and_never_read_is_held_back(peer):
    stream = peer.answers.AnswerStream()
    written = 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5.0):
            while written < 100 * MOST_HELD:
                await stream.write(item(str(written), "why? " * 2_000))
                written += 1
    assert peer.servicer.asked <= 8 * MOST_HELD
    assert await peer.is_served()
    stream.cancel()
