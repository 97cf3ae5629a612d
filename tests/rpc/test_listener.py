"""Unused connections end; connections with an open call stay."""

import asyncio
from contextlib import AsyncExitStack

import grpc
from google.longrunning import operations_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.rpc.peer import CHANNEL_OPTIONS
from tests.http2 import speaking_http2
from tests.rpc.callers import asking, item, serving

IDLE_S = 0.3
HUNG_UP_WITHIN_S = 60.0
"""A guard for a busy machine."""


async def idle_connections_end(port, stack):
    raws = [await stack.enter_async_context(speaking_http2(port)) for _ in range(20)]
    hung_up = await asyncio.gather(*(raw.is_hung_up(HUNG_UP_WITHIN_S) for raw in raws))
    assert all(hung_up), "they keep others out for good"


async def test_connections_without_a_call_are_hung_up_on():
    async with serving(idle_s=IDLE_S) as peer, AsyncExitStack() as stack:
        await idle_connections_end(peer.port, stack)
        assert await peer.is_served()


async def test_open_calls_are_not_idle():
    async with serving(idle_s=IDLE_S) as peer, AsyncExitStack() as stack:
        stream = peer.answers.AnswerStream()
        wait = peer.operations.WaitOperation(operations_pb2.WaitOperationRequest())
        watch = health_pb2_grpc.HealthStub(peer.channel).Watch(health_pb2.HealthCheckRequest())
        await stream.write(item("before"))
        assert (await stream.read()).id == "before"
        await watch.read()
        await idle_connections_end(peer.port, stack)
        await stream.write(item("after"))
        assert (await stream.read()).id == "after"
        assert not (wait.done() or watch.done())
        peer.servicer.go.set()
        await wait


async def test_a_client_that_was_hung_up_on_connects_again_by_itself():
    async with serving(idle_s=IDLE_S) as peer, AsyncExitStack() as stack:
        for options in ((), CHANNEL_OPTIONS):
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{peer.port}", options=options)
            ask = channel.unary_unary(
                "/mpa.v1.StudentService/Answer",
                type(asking("")).SerializeToString,
                lambda reply: reply,
            )
            await stack.enter_async_context(channel)
            for _ in range(3):
                assert await ask(asking("well?"))
                await idle_connections_end(peer.port, stack)
