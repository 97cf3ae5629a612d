"""A server that leaves: callers who wait for something else, or send nothing, don't hold it for its grace."""

import asyncio

import grpc
import pytest
from google.longrunning import operations_pb2

from protos.mpa.v1 import training_pb2
from tests.rpc.test_callers import ANSWER, UPLOAD, asking, raw, refusal, serving
from tests.waiting import until

GRACE_S = 3_600.0
LEAVES_WITHIN_S = 60.0
"""A guard: its grace is longer."""
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
IMAGE = training_pb2.UploadDatasetRequest(image=b"x")


async def leave(server):
    await asyncio.wait_for(server.stop(GRACE_S), LEAVES_WITHIN_S)


@pytest.mark.parametrize(
    ("method", "kind", "first"),
    [
        (UPLOAD, "stream_unary", [IMAGE.SerializeToString()]),
        (UPLOAD, "stream_unary", []),
        (ANSWER, "stream_unary", []),
        ("/google.longrunning.Operations/GetOperation", "stream_unary", []),
        ("/mpa.v1.StudentService/AnswerStream", "stream_stream", []),
        (REFLECTION, "stream_stream", []),
    ],
    ids=["an upload", "an upload without a part", "an answer", "a control call", "a stream", "reflection"],
)
async def test_callers_who_send_nothing_do_not_hold_it(method, kind, first):
    """Nothing, or nothing more: their calls are open, and their requests never end."""
    async with serving() as peer:
        ended = asyncio.Event()

        async def silent():
            for message in first:
                yield message
            await ended.wait()

        call = raw(peer.channel, method, kind)(silent())
        await peer.operations.GetOperation(operations_pb2.GetOperationRequest(name="after it, on the same connection"))
        await leave(peer.server)
        if kind == "stream_unary":
            refused = await refusal(call)
            assert refused.code() is grpc.StatusCode.UNAVAILABLE
            assert "stopping" in refused.details()
        ended.set()


async def test_an_upload_that_goes_on_is_taken_to_its_end():
    async with serving() as peer:
        upload = peer.training.UploadDataset()
        await upload.write(IMAGE)
        stopping = asyncio.create_task(peer.server.stop(GRACE_S))
        for _ in range(30):
            await upload.write(IMAGE)
            await asyncio.sleep(0.1)
        await upload.done_writing()
        assert (await upload).images == 31
        await stopping


async def test_waits_are_answered():
    async with serving() as peer:
        wait = peer.operations.WaitOperation(operations_pb2.WaitOperationRequest())
        answered = peer.answers.Answer(asking("on the same connection"))
        await answered
        await leave(peer.server)
        assert (await wait) == operations_pb2.Operation()
        await until(wait.done)
