"""Shutdown of a server: callers that wait or send nothing do not delay it for its whole grace."""

import asyncio

import grpc
from google.longrunning import operations_pb2
from grpc_health.v1 import health_pb2

from protos.mpa.v1 import training_pb2
from tests.http2 import NO_WINDOW, called, connected, ended
from tests.rpc.callers import ANSWER, UPLOAD, asking, item, raw, refusal, serving
from tests.waiting import until

GRACE_S = 3_600.0
LEAVES_WITHIN_S = 30.0
"""A guard, shorter than the grace, and than the minute after which grpcio ends a call of a
connection that doesn't answer its settings."""
IMAGE = training_pb2.UploadDatasetRequest(image=b"x")


async def leave(server):
    await asyncio.wait_for(server.stop(GRACE_S), LEAVES_WITHIN_S)


CALLS = {
    "an upload": (UPLOAD, "stream_unary", [IMAGE.SerializeToString()]),
    "an upload without a part": (UPLOAD, "stream_unary", []),
    "an answer": (ANSWER, "stream_unary", []),
    "a control call": ("/google.longrunning.Operations/GetOperation", "stream_unary", []),
    "a stream": ("/mpa.v1.StudentService/AnswerStream", "stream_stream", []),
    "reflection": (
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "stream_stream",
        [],
    ),
}


async def test_callers_who_send_nothing_do_not_hold_it():
    """Their calls stay open, and their requests never end."""
    async with serving(leaving_s=0.2) as peer:
        ended = asyncio.Event()

        async def silent(first):
            for message in first:
                yield message
            await ended.wait()

        calls = {
            name: raw(peer.channel, method, kind)(silent(first))
            for name, (method, kind, first) in CALLS.items()
        }
        await peer.operations.GetOperation(
            operations_pb2.GetOperationRequest(name="after them, on the same connection")
        )
        await leave(peer.server)
        for name, call in calls.items():
            if CALLS[name][1] == "stream_unary":
                refused = await refusal(call)
                assert refused.code() is grpc.StatusCode.UNAVAILABLE, name
                assert "stopping" in refused.details(), name
        ended.set()


class Hasty(asyncio.SelectorEventLoop):
    """An event loop with a clock that is put forward."""

    ahead_s = 0.0

    def time(self):
        return super().time() + self.ahead_s


def test_an_upload_that_goes_on_is_taken_to_its_end():
    """It takes longer than a pause may; no pause does."""
    pause_s, grace_s = 3_600.0, 360_000.0
    loop = Hasty()

    async def go_on():
        async with serving(leaving_s=pause_s, silence_s=grace_s) as peer:
            upload = peer.training.UploadDataset()
            await upload.write(IMAGE)
            await until(lambda: peer.servicer.images == 1)
            stopping = asyncio.create_task(peer.server.stop(grace_s))
            for sent in range(2, 6):
                await upload.write(IMAGE)
                await until(lambda sent=sent: peer.servicer.images == sent, LEAVES_WITHIN_S)
                loop.ahead_s += pause_s / 2
            await upload.done_writing()
            assert (await upload).images == 5
            await stopping

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(go_on())


async def test_a_stream_opened_before_is_answered_once():
    """Its client sends when the service has begun to leave."""
    async with serving() as peer:
        stream = peer.answers.AnswerStream()
        await peer.answers.Answer(asking("after it, on the same connection"))
        stopping = asyncio.create_task(peer.server.stop(GRACE_S))
        await peer.servicer.go.wait()
        await stream.write(item("1", "first"))
        assert (await stream.read()).response.answer == "first"
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        await stopping


async def test_waits_are_answered():
    async with serving() as peer:
        wait = peer.operations.WaitOperation(operations_pb2.WaitOperationRequest())
        await peer.answers.Answer(asking("on the same connection"))
        await leave(peer.server)
        assert (await wait) == operations_pb2.Operation()


async def test_a_watch_that_reads_nothing_delays_no_change_of_state():
    watch = called("/grpc.health.v1.Health/Watch", health_pb2.HealthCheckRequest())
    async with serving() as peer:
        async with connected(peer.port, NO_WINDOW + watch) as unread:
            await until(lambda: ended(unread) == 1)
            for ready in (False, True):
                await asyncio.wait_for(peer.server.set_ready(ready), LEAVES_WITHIN_S)
            assert await peer.is_served()
        await leave(peer.server)
