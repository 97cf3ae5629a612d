"""The shipped proxy configuration, run: both faces through it, and the requests that it refuses."""

import asyncio
import base64
import json
import os
import subprocess
from contextlib import contextmanager, suppress

import grpc
import httpx
import pytest

from protos.mpa.v1 import student_pb2, student_pb2_grpc, types_pb2
from services.orchestrator.endpoints.processes import free_ports
from tests.e2e.processes import ROOT, is_serving, serving
from tests.pictures import png
from tests.serving import fake_checkpoint
from tests.tools import program
from tests.waiting import until, until_true

pytestmark = pytest.mark.slow
IMAGE = png()
ASKED = {"image": base64.b64encode(IMAGE).decode(), "question": "what?"}


@pytest.fixture(scope="module")
def haproxy():
    return program("haproxy", "it tries the configuration (as root: apt-get install haproxy)")


@contextmanager
def proxied(haproxy, service, **settings):
    """The ports of HTTP and gRPC."""
    http_port, grpc_port = free_ports(2)
    env = {
        **os.environ,
        "MPA_HTTP_BIND": f"127.0.0.1:{http_port}",
        "MPA_GRPC_BIND": f"127.0.0.1:{grpc_port}",
        "MPA_HTTP_SERVICE": f"127.0.0.1:{service.http_port}",
        "MPA_GRPC_SERVICE": f"127.0.0.1:{service.grpc_port}",
        **settings,
    }
    process = subprocess.Popen([haproxy, "-f", str(ROOT / "deploy" / "haproxy.cfg")], env=env)
    try:
        until_true(lambda: process.poll() is not None or is_serving(http_port))
        assert process.poll() is None
        yield http_port, grpc_port
    finally:
        process.kill()
        process.wait()


async def test_both_faces_are_served_through_the_proxy_and_what_it_refuses_does_not_arrive(
    tmp_path, haproxy
):
    model = fake_checkpoint(tmp_path / "model", skill=0.5)
    with (
        serving("student", tmp_path, model=model, store=tmp_path / "store") as student,
        proxied(haproxy, student, MPA_HEADERS_TIME="1s", MPA_CONNECTIONS_PER_CALLER="20") as (
            http_port,
            grpc_port,
        ),
    ):
        url = f"http://127.0.0.1:{http_port}"
        async with httpx.AsyncClient(timeout=30) as client:
            direct = await client.post(f"http://127.0.0.1:{student.http_port}/v1/vqa", json=ASKED)
            through = await client.post(f"{url}/v1/vqa", json=ASKED)
            assert through.json() == direct.json()
            assert through.headers["x-request-id"]
            assert (await client.get(f"{url}/metrics")).status_code == 404, "for the inside alone"
            async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
                request = student_pb2.AnswerRequest(
                    image=types_pb2.Image(data=IMAGE), question="what?"
                )
                answered = await student_pb2_grpc.StudentServiceStub(channel).Answer(request)
                assert answered.answer == direct.json()["answer"]

            reader, writer = await asyncio.open_connection("127.0.0.1", http_port)
            writer.write(b"POST /v1/vqa HTTP/1.1\r\nhost: x\r\nx-slow: ")
            assert (await asyncio.wait_for(reader.read(), 30)).startswith(b"HTTP/1.1 408 ")
            reader, writer = await asyncio.open_connection("127.0.0.1", http_port)
            writer.write(b"POST /v1/vqa HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n")
            assert (await asyncio.wait_for(reader.readline(), 30)).startswith(b"HTTP/1.1 413 ")

        connecting = (asyncio.open_connection("127.0.0.1", http_port) for _ in range(100))
        made = [
            each
            for each in await asyncio.gather(*connecting, return_exceptions=True)
            if isinstance(each, tuple)
        ]
        ended = [asyncio.create_task(_end(reader)) for reader, _ in made]
        await until(lambda: sum(not task.done() for task in ended) <= 20)
        for _, writer in made:
            writer.close()
        log = student.log.read_text()
        assert "99999999" not in log
        assert json.dumps("TIMEOUT") not in log


async def _end(reader):
    with suppress(ConnectionError):
        await reader.read()
