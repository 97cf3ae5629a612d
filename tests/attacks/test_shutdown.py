"""Shutdown of a service while work hangs and callers keep their connections."""

import asyncio
import subprocess

import grpc
import httpx
import pytest

from protos.mpa.v1 import student_pb2, training_pb2, types_pb2
from tests.attacks.bystander import IMAGE
from tests.attacks.outcomes import ANSWER, ANSWER_STREAM, UPLOAD, method_of
from tests.attacks.target import Target
from tests.attacks.test_connections import START, WHOLE
from tests.e2e.processes import serving
from tests.http2 import connected
from tests.serving import fake_checkpoint
from tests.waiting import until

pytestmark = pytest.mark.slow
GRACE_S = 5
LEAVES_WITHIN_S = 45.0
"""Grace in seconds, with a guard for a busy machine."""
REQUEST = student_pb2.AnswerRequest(image=types_pb2.Image(data=IMAGE), question="what?")


async def leaves(target):
    """Whether it ends in time after SIGTERM. If not, it is killed."""
    target.service.process.terminate()
    try:
        await asyncio.to_thread(target.service.process.wait, LEAVES_WITHIN_S)
    except subprocess.TimeoutExpired:
        target.kill()
        return False
    return True


async def ask_and_forget(target, request, count):
    """Questions whose answers take too long."""
    async with grpc.aio.insecure_channel(target.address) as channel:
        calls = [method_of(channel, ANSWER)(request, timeout=LEAVES_WITHIN_S) for _ in range(count)]
        await asyncio.gather(*calls, return_exceptions=True)


async def test_an_engine_that_hangs_from_the_start(tmp_path):
    hanging = fake_checkpoint(tmp_path / "hanging", latency_s=3_600.0)
    with serving(
        "student", tmp_path, model=hanging, store=tmp_path / "store", wait=False, grace_s=GRACE_S
    ) as service:
        target = Target("student", service)
        await until(lambda: "loading the model" in service.log.read_text())
        asking = asyncio.create_task(ask_and_forget(target, REQUEST, 4))
        await asyncio.sleep(3)
        assert await leaves(target), "it hangs with its engine"
        asking.cancel()


async def test_an_engine_that_hangs_on_a_question(tmp_path):
    """SIGTERM ends the process within its grace, even without a watchdog."""
    hanging = fake_checkpoint(tmp_path / "hanging", hanging="for ever")
    with serving(
        "student", tmp_path, model=hanging, store=tmp_path / "store", watchdog_s=0, grace_s=GRACE_S
    ) as service:
        target = Target("student", service)
        request = student_pb2.AnswerRequest(
            image=types_pb2.Image(data=IMAGE), question="is it for ever?"
        )
        asking = asyncio.create_task(ask_and_forget(target, request, 4))
        await asyncio.sleep(2)
        assert await leaves(target), "it hangs with its engine"
        asking.cancel()


async def test_callers_who_hold_on(tmp_path, model):
    """Idle streams, uploads, connections and half-sent requests do not delay the shutdown."""
    with serving(
        "student", tmp_path, model=model, store=tmp_path / "store", grace_s=GRACE_S
    ) as service:
        target = Target("student", service)
        async with (
            grpc.aio.insecure_channel(target.address) as channel,
            connected(service.http_port, START),
            connected(service.http_port, WHOLE),
            connected(service.http_port),
            connected(service.grpc_port),
        ):
            stream, upload = method_of(channel, ANSWER_STREAM)(), method_of(channel, UPLOAD)()
            await stream.write(student_pb2.AnswerStreamRequest(id="1", request=REQUEST))
            await upload.write(training_pb2.UploadDatasetRequest(image=IMAGE))
            assert (await stream.read()).HasField("response")
            assert await leaves(target)


async def test_kept_http_connections_lose_nothing(tmp_path, model):
    """Callers on kept connections are answered until a reply closes the connection."""
    with serving(
        "student", tmp_path, model=model, store=tmp_path / "store", lame_duck_s=2
    ) as service:
        target, lost, answered = Target("student", service), [], 0
        limits = httpx.Limits(max_keepalive_connections=8, max_connections=8)
        async with httpx.AsyncClient(base_url=target.url, timeout=30, limits=limits) as http:

            async def ask_until_refused():
                nonlocal answered
                while True:
                    try:
                        response = await http.post(
                            "/v1/vqa", files={"image": IMAGE}, data={"question": "what?"}
                        )
                    except httpx.ConnectError:
                        return
                    except httpx.HTTPError as error:
                        lost.append(repr(error))
                        return
                    if response.status_code == 503:
                        return
                    assert response.status_code == 200, response.text
                    answered += 1

            asking = [asyncio.create_task(ask_until_refused()) for _ in range(8)]
            await until(lambda: answered > 8)
            assert await leaves(target)
            await asyncio.gather(*asking)
    assert not lost
