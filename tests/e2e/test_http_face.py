"""The HTTP face of real service processes: its address, its pages, its limits and its shutdown."""

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from contextlib import suppress

import httpx
import psutil
import pytest

from services.orchestrator.endpoints.processes import bento_command, free_ports
from tests.e2e.processes import ROOT, serving
from tests.pictures import png
from tests.rpc.http.peers import get, post, read_reply
from tests.serving import fake_checkpoint
from tests.waiting import until_true

pytestmark = pytest.mark.slow
ASKED = {"image": base64.b64encode(png()).decode(), "question": "what?"}
GOOD = post(json.dumps(ASKED).encode())


def listening(process):
    """Addresses of a process and its children."""
    everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    found = {}
    for each in everyone:
        for connection in each.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                found[connection.laddr.port] = connection.laddr.ip.removeprefix("::ffff:")
    return found


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_both_faces_listen_on_loopback_by_default(request, name):
    service = request.getfixturevalue(name)
    found = listening(service.process)
    assert found[service.http_port] == found[service.grpc_port] == "127.0.0.1"


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_both_faces_listen_where_the_one_setting_says(tmp_path, model, name):
    store = {"store": tmp_path / "store"} if name == "student" else {}
    with serving(name, tmp_path, model=model, host="0.0.0.0", insecure=1, **store) as service:
        found = listening(service.process)
    assert found[service.http_port] == "0.0.0.0"
    assert found[service.grpc_port] in ("0.0.0.0", "::"), "gRPC opens both families"


def test_a_host_that_is_no_address_is_refused_by_name(tmp_path, model):
    with serving("teacher", tmp_path, model=model, host="localhost:80", wait=False) as service:
        assert service.process.wait(60) != 0
        assert "MPA_TEACHER_HOST is 'localhost:80': give an IP address" in service.log.read_text()


def test_the_command_that_serves_listens_on_loopback(tmp_path, model):
    http_port, grpc_port = free_ports(2)
    env = {**os.environ, "MPA_TEACHER_ENGINE": "fake", "MPA_TEACHER_MODEL": str(model)}
    command = [sys.executable, "-m", "services.orchestrator.cli.main", "serve", "teacher"]
    ports = ["--port", str(http_port), "--grpc-port", str(grpc_port)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, *ports],
            env=env | {"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
    try:
        until_true(lambda: grpc_port in listening(process), describe=(tmp_path / "log").read_text)
        found = listening(process)
        assert found == {**found, http_port: "127.0.0.1", grpc_port: "127.0.0.1"}
    finally:
        process.terminate()
        process.wait(60)
    assert "--host" in bento_command("teacher", 1)


def test_nothing_that_is_served_asks_for_anything_elsewhere(student):
    """BentoML's own page at / loads scripts, fonts and a tracker from the internet."""
    elsewhere = re.compile(r"https?://(?!127\.0\.0\.1|localhost)|src=|href=|<script|<link|@import")
    paths = [
        "/",
        "/docs.json",
        "/schema.json",
        "/livez",
        "/readyz",
        "/healthz",
        "/metrics",
        "/v1/vqa",
        "/v1",
        "/favicon.ico",
    ]
    paths += [
        "/static_content/index.css",
        "/static_content/swagger-ui-bundle.js",
        "/assets/index.js",
        "/index.html",
    ]
    for path in paths:
        reply = httpx.get(f"http://127.0.0.1:{student.http_port}{path}")
        assert not elsewhere.search(reply.text), path
        assert "html" not in reply.headers.get("content-type", "")
        assert "location" not in reply.headers


def test_bentoml_reports_its_use_to_nobody_unless_told_to():
    code = (
        "from bentoml._internal.utils.analytics import usage_stats as u; before = u.do_not_track();"
        "import services.teacher.service; print(before, u.do_not_track())"
    )
    env = {name: value for name, value in os.environ.items() if name != "BENTOML_DO_NOT_TRACK"}
    for extra, expected in (({}, "False True"), ({"BENTOML_DO_NOT_TRACK": "False"}, "False False")):
        done = subprocess.run(
            [sys.executable, "-c", code], env=env | extra, cwd=ROOT, capture_output=True, text=True
        )
        assert done.stdout.strip() == expected, done.stderr


def memory_mib(service):
    return (
        sum(child.memory_info().rss for child in psutil.Process(service.process.pid).children())
        / 2**20
    )


async def test_an_endless_upload_takes_neither_memory_nor_disk(tmp_path, model):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    head = b"POST /v1/vqa HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
    head += b"content-type: multipart/form-data; boundary=b\r\n\r\n"
    start = b'--b\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    chunk = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
    settings = {"model": model, "store": tmp_path / "store", "env": {"TMPDIR": str(temporary)}}
    with serving("student", tmp_path, **settings) as student:
        before, most, on_disk = memory_mib(student), 0.0, 0
        reader, writer = await asyncio.open_connection("127.0.0.1", student.http_port)
        writer.write(head + b"%x\r\n%s\r\n" % (len(start), start))
        reply = asyncio.create_task(read_reply(reader))
        sent = 0
        with suppress(ConnectionError):
            while sent < 2**31:
                writer.write(chunk)
                await writer.drain()
                sent += 2**20
                most = max(most, await asyncio.to_thread(memory_mib, student))
                on_disk = max(
                    on_disk,
                    sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file()),
                )
        status, _, body = await reply
        async with httpx.AsyncClient() as client:
            beside = await client.post(f"http://127.0.0.1:{student.http_port}/v1/vqa", json=ASKED)
    assert (status, json.loads(body)["error"]["reason"]) == (413, "REQUEST_TOO_LARGE")
    assert sent < 2**28, "it is let go, not read to its end"
    assert most - before < 300
    assert on_disk < 2**20
    assert beside.status_code == 200


async def test_thousands_of_half_sent_headers_and_a_caller_beside_them(tmp_path, model):
    settings = {"model": model, "store": tmp_path / "store", "http_headers_s": 3}
    with serving("student", tmp_path, **settings) as student:
        before = memory_mib(student)
        held = []
        async with httpx.AsyncClient(timeout=30) as client:
            for number in range(5_000):
                with suppress(ConnectionError):
                    reader, writer = await asyncio.open_connection("127.0.0.1", student.http_port)
                    writer.write(b"POST /v1/vqa HTTP/1.1\r\nhost: x\r\nx-slow: ")
                    held.append((reader, writer))
                if number % 500 == 0:
                    reply = await client.post(
                        f"http://127.0.0.1:{student.http_port}/v1/vqa", json=ASKED
                    )
                    assert reply.status_code == 200
            most = memory_mib(student)
            worker = psutil.Process(student.process.pid).children()[0]
            kept = [
                each
                for each in worker.net_connections("tcp")
                if each.status == psutil.CONN_ESTABLISHED
            ]
            assert len(kept) < 300
            ends = await asyncio.wait_for(asyncio.gather(*(_end(reader) for reader, _ in held)), 60)
            assert len(ends) > 4_900
            assert (
                await client.get(f"http://127.0.0.1:{student.http_port}/readyz")
            ).status_code == 200
        for _, writer in held:
            writer.close()
    assert most - before < 200


async def _end(reader):
    with suppress(ConnectionError):
        await reader.read()


async def test_callers_who_hang_up_are_not_answered_by_the_engine(tmp_path):
    """The engine takes one prompt for two seconds: 20 callers leave while it has the first."""
    slow = fake_checkpoint(tmp_path / "slow", skill=0.5, latency_s=2)
    with serving("teacher", tmp_path, model=slow, max_batch=1) as teacher:
        callers = []
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", teacher.http_port)
            writer.write(GOOD.replace(b"/v1/vqa", b"/v1/annotate"))
            await writer.drain()
            callers.append(writer)
        async with httpx.AsyncClient(timeout=60) as client:
            url = f"http://127.0.0.1:{teacher.http_port}"
            for writer in callers:
                writer.close()
            assert (await client.post(f"{url}/v1/annotate", json=ASKED)).status_code == 200
            metrics = (await client.get(f"{url}/metrics")).text
    counts = dict(
        re.findall(
            r'mpa_requests_total{code="(\d+)",method="/v1/annotate",protocol="http"} (\d+)', metrics
        )
    )
    assert int(counts["499"]) >= 18, metrics
    assert int(counts["200"]) <= 3, metrics


async def test_health_is_answered_while_every_place_is_taken(tmp_path):
    slow = fake_checkpoint(tmp_path / "slow", skill=0.5, latency_s=0.3)
    settings = {
        "model": slow,
        "store": tmp_path / "store",
        "max_batch": 1,
        "http_requests_per_caller": 10,
    }
    with serving("student", tmp_path, **settings) as student:
        callers = [await asyncio.open_connection("127.0.0.1", student.http_port) for _ in range(60)]
        for _, writer in callers:
            writer.write(GOOD)
        reader, writer = await asyncio.open_connection("127.0.0.1", student.http_port)
        for path in ("/livez", "/readyz", "/metrics", "/livez"):
            writer.write(get(path))
            assert (await read_reply(reader))[0] == 200
        statuses = [(await read_reply(reader))[0] for reader, _ in callers]
        for _, each in callers:
            each.close()
    assert set(statuses) == {200, 429}
