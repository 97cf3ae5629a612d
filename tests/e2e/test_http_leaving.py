"""Services that leave, or whose worker leaves, while callers ask over HTTP."""

import asyncio
import json

import httpx
import psutil
import pytest

from tests.e2e.processes import serving
from tests.e2e.test_http_face import ASKED
from tests.rpc.http.peers import post
from tests.serving import fake_checkpoint
from tests.waiting import until

pytestmark = pytest.mark.slow


@pytest.mark.alone
async def test_sigterm_loses_no_request_of_kept_or_new_connections(tmp_path, model):
    answered, lost = 0, []

    async def ask(url, **kept):
        nonlocal answered
        async with httpx.AsyncClient(timeout=60, **kept) as client:
            while True:
                try:
                    reply = await client.post(f"{url}/v1/vqa", json=ASKED)
                except httpx.ConnectError:
                    return
                except httpx.HTTPError as error:
                    lost.append(repr(error))
                    return
                if reply.status_code != 200:
                    lost.append(reply.text)
                answered += 1

    with serving(
        "student", tmp_path, model=model, store=tmp_path / "store", max_batch=64
    ) as student:
        url = f"http://127.0.0.1:{student.http_port}"
        async with asyncio.TaskGroup() as group, asyncio.timeout(90):
            for _ in range(32):
                group.create_task(ask(url))
            for _ in range(8):
                group.create_task(ask(url, headers={"connection": "close"}))
            await until(lambda: answered >= 100)
            student.process.terminate()
            async with httpx.AsyncClient() as client:
                while (await client.get(f"{url}/readyz")).status_code == 200:
                    pass
        assert student.process.wait(60) == 0
    assert lost == []


async def test_a_service_whose_engine_hangs_ends_within_its_grace(tmp_path):
    hanging = fake_checkpoint(tmp_path / "hanging", skill=0.5, hanging="for ever")
    settings = {"model": hanging, "store": tmp_path / "store", "grace_s": 1, "lame_duck_s": 0.2}
    with serving("student", tmp_path, **settings) as student:
        everyone = [
            psutil.Process(student.process.pid),
            *psutil.Process(student.process.pid).children(recursive=True),
        ]
        _, writer = await asyncio.open_connection("127.0.0.1", student.http_port)
        writer.write(post(json.dumps({**ASKED, "question": "does it take for ever?"}).encode()))
        await writer.drain()
        student.process.terminate()
        _, alive = await asyncio.to_thread(psutil.wait_procs, everyone, timeout=30)
        assert alive == []
        assert "Timeout (0:00:06" in student.log.read_text(), (
            "the stacks of its threads are in the log"
        )
        writer.close()


def test_a_worker_that_is_told_to_leave_alone_is_replaced_on_the_same_port(tmp_path, model):
    """Its listening socket, which it shuts down for everybody, is the supervisor's."""
    with serving("teacher", tmp_path, model=model) as teacher:
        (worker,) = psutil.Process(teacher.process.pid).children()
        worker.terminate()
        psutil.wait_procs([worker], timeout=30)
        teacher.wait_until_ready()
        asked = httpx.post(
            f"http://127.0.0.1:{teacher.http_port}/v1/annotate", json={"image": ASKED["image"]}
        )
        assert asked.status_code == 200
        assert psutil.Process(teacher.process.pid).children() != [worker]
