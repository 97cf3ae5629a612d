import asyncio
import socket

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos.mpa.v1 import teacher_pb2, teacher_pb2_grpc
from services.core.errors import Unavailable
from services.rpc.server import GrpcServer
from services.teacher.servicer import SERVICE

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
GRACE_S = 3_600.0
GUARD_S = 60.0


class Slow(teacher_pb2_grpc.TeacherServiceServicer):
    """Answers once `go` is set."""

    def __init__(self):
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def Answer(self, request, context):
        self.asked.set()
        await self.go.wait()
        return teacher_pb2.TeacherServiceAnswerResponse(answer="late")


def _server(slow=None, end_waits=lambda: None):
    return GrpcServer(
        lambda server: teacher_pb2_grpc.add_TeacherServiceServicer_to_server(
            slow or Slow(), server
        ),
        [SERVICE],
        end_waits=end_waits,
    )


async def test_health_is_not_serving_until_ready():
    server = _server()
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING
        await server.set_ready(True)
        assert (
            await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
        ).status == SERVING
    await server.stop(0)


async def test_reflection_lists_the_services():
    server = _server()
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        async for response in call:
            names = {service.name for service in response.list_services_response.service}
            break
    assert {SERVICE, "grpc.health.v1.Health"} <= names
    await server.stop(0)


async def test_a_port_in_use_is_said_plainly():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Unavailable, match=str(taken.getsockname()[1])):
            await _server().start("127.0.0.1", taken.getsockname()[1])


async def test_a_port_out_of_range_is_refused():
    with pytest.raises(Unavailable, match="99999"):
        await _server().start("127.0.0.1", 99999)


async def test_stop_lets_calls_end_and_does_not_wait_for_watchers():
    slow, leaving = Slow(), asyncio.Event()
    server = _server(slow, leaving.set)
    port = await server.start("127.0.0.1", 0)
    await server.set_ready(True)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        call = teacher_pb2_grpc.TeacherServiceStub(channel).Answer(
            teacher_pb2.TeacherServiceAnswerRequest()
        )
        await slow.asked.wait()
        stopping = asyncio.create_task(server.stop(GRACE_S))
        await leaving.wait()
        slow.go.set()
        await asyncio.wait_for(stopping, GUARD_S)
        assert (await call).answer == "late"
