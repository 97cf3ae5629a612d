"""deploy/compose/envoy.yaml, run: both faces through it, what it repeats, and what stays inside."""

import asyncio
import base64
from contextlib import asynccontextmanager

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from benchmarks.proxy import envoy
from protos.mpa.v1 import (
    student_pb2,
    student_pb2_grpc,
    types_pb2,
    versions_pb2,
    versions_pb2_grpc,
)
from tests.e2e.processes import is_serving
from tests.pictures import png
from tests.waiting import until

pytestmark = pytest.mark.slow
NOTICED_S = 30.0
"""Seconds until Envoy must know who is ready: less than the minute that it waits by default."""
UNREADY_S = 4.0
"""Seconds after which Envoy knows that a replica is not ready."""
IMAGE = png()
ASKED = {"image": base64.b64encode(IMAGE).decode(), "question": "what?"}
REQUEST = student_pb2.AnswerRequest(image=types_pb2.Image(data=IMAGE), question="what?")


async def test_answers_and_health_pass_and_nothing_else(tmp_path, student):
    async with (
        envoy(tmp_path, [(student.http_port, student.grpc_port)]) as proxy,
        httpx.AsyncClient(base_url=proxy.url, timeout=30) as client,
        grpc.aio.insecure_channel(proxy.address) as channel,
    ):
        await until(lambda: is_serving(proxy.http_port))
        direct = await client.post(f"http://127.0.0.1:{student.http_port}/v1/vqa", json=ASKED)
        named = {"x-request-id": "by-the-caller"}
        through = await client.post("/v1/vqa", json=ASKED, headers=named)
        assert through.json() == direct.json()
        assert through.headers["x-request-id"] == "by-the-caller"
        document = await client.get("/openapi.json")
        assert document.json()["paths"].keys() >= {"/v1/vqa"}
        for path in ("/metrics", "/", "/v1%2fvqa", "/docs.json"):
            assert (await client.get(path)).status_code in (400, 404), path
        answer = student_pb2_grpc.StudentServiceStub(channel).Answer
        replied = await answer(REQUEST, wait_for_ready=True)
        assert replied.answer == direct.json()["answer"]
        health = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), wait_for_ready=True
        )
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            versions = versions_pb2_grpc.VersionServiceStub(channel)
            await versions.ListVersions(versions_pb2.ListVersionsRequest())
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


class Failing(student_pb2_grpc.StudentServiceServicer):
    """Fails with each code once, in turn, then answers."""

    def __init__(self, *codes):
        self._codes = list(codes)
        self.calls = 0

    async def Answer(self, request, context):
        self.calls += 1
        if self._codes:
            await context.abort(self._codes.pop(0), "not now")
        return student_pb2.AnswerResponse(answer="red")


@asynccontextmanager
async def failing(*codes):
    """A student that fails, its health, and its port."""
    server, servicer, health = grpc.aio.server(), Failing(*codes), HealthServicer()
    student_pb2_grpc.add_StudentServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, health, port
    await server.stop(0)


@pytest.mark.parametrize(
    ("code", "calls"), [(grpc.StatusCode.UNAVAILABLE, 2), (grpc.StatusCode.RESOURCE_EXHAUSTED, 1)]
)
async def test_an_answer_is_asked_for_again_but_a_refusal_is_the_callers(tmp_path, code, calls):
    async with (
        failing(code) as (student, _, port),
        envoy(tmp_path, [(port, port)]) as proxy,
        grpc.aio.insecure_channel(proxy.address) as channel,
    ):
        answer = student_pb2_grpc.StudentServiceStub(channel).Answer
        if calls == 1:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await answer(REQUEST)
            assert refused.value.code() is code
        else:
            assert (await answer(REQUEST)).answer == "red"
        assert student.calls == calls


async def test_only_replicas_that_are_ready_are_asked(tmp_path):
    """From the first seconds on, and if most of them are not ready."""
    async with (
        failing() as (one, health, one_port),
        failing() as (other, other_health, other_port),
        failing() as (third, _, third_port),
        envoy(tmp_path, [(port, port) for port in (one_port, other_port, third_port)]) as proxy,
        grpc.aio.insecure_channel(proxy.address) as channel,
    ):
        answer = student_pb2_grpc.StudentServiceStub(channel).Answer
        for leaving in (health, other_health):
            await leaving.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        async with asyncio.timeout(NOTICED_S):
            unnoticed = True
            while unnoticed:
                before = one.calls, other.calls
                for _ in range(12):
                    await answer(REQUEST)
                unnoticed = (one.calls, other.calls) != before
        assert third.calls >= 12


async def test_an_answer_that_a_replica_can_not_give_is_asked_of_another(tmp_path):
    """Whatever the turns of requests that come at the same time."""
    unavailable = [grpc.StatusCode.UNAVAILABLE] * 1000
    async with (
        failing(*unavailable) as (one, _, one_port),
        failing() as (other, _, other_port),
        envoy(tmp_path, [(port, port) for port in (one_port, other_port)]) as proxy,
        grpc.aio.insecure_channel(proxy.address) as channel,
    ):
        answer = student_pb2_grpc.StudentServiceStub(channel).Answer
        await asyncio.gather(*(answer(REQUEST) for _ in range(100)))
        assert one.calls > 1
        assert other.calls == 100


async def test_a_replica_that_leaves_is_asked_while_no_other_is_ready(tmp_path):
    async with (
        failing() as (leaving, health, port),
        envoy(tmp_path, [(port, port)]) as proxy,
        grpc.aio.insecure_channel(proxy.address) as channel,
    ):
        answer = student_pb2_grpc.StudentServiceStub(channel).Answer
        assert (await answer(REQUEST)).answer == "red"
        await health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        await asyncio.sleep(UNREADY_S)
        assert (await answer(REQUEST)).answer == "red"
        assert leaving.calls == 2
