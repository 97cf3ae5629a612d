"""Streams whose caller reads no reply, although the first one is written."""

import asyncio
import struct

import grpc
from grpc_health.v1 import health_pb2

from services.core.errors import TimedOut
from services.rpc.interceptors.around import wrapped
from services.rpc.interceptors.failures import Failures
from tests.http2 import NO_WINDOW, WINDOW_UPDATE, called, connected, ended, frame
from tests.waiting import until

WINDOW = frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 2**20))
UNREAD_S = 0.2


async def replies(request, context):
    yield health_pb2.HealthCheckResponse()


async def test_a_reply_that_is_not_read_in_time_ends_its_stream():
    unread = asyncio.Event()

    def guarded(inner):
        async def guard(request, context):
            async with Failures().around("/test.Test/Replies", context):
                try:
                    await inner(request, context)
                except TimedOut:
                    unread.set()
                    raise

        return guard

    handler = grpc.unary_stream_rpc_method_handler(
        replies,
        health_pb2.HealthCheckRequest.FromString,
        health_pb2.HealthCheckResponse.SerializeToString,
    )
    server = grpc.aio.server()
    handlers = {"Replies": wrapped(handler, guarded, UNREAD_S)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Test", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with connected(
            port, NO_WINDOW + called("/test.Test/Replies", health_pb2.HealthCheckRequest())
        ) as raw:
            await asyncio.wait_for(unread.wait(), 30)
            assert ended(raw) == 1, "metadata"
            await raw.write(WINDOW)
            await until(lambda: b"replies were not read" in raw.received, timeout_s=30)
    finally:
        await server.stop(0)
