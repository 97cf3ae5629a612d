"""Questions that hang, kill or fail an engine: nobody waits for ever, and services come back."""

import asyncio
import base64

import grpc
import httpx
import pytest

from protos.mpa.v1 import teacher_pb2, teacher_pb2_grpc, types_pb2
from services.rpc.status import from_rpc_error
from tests.e2e.processes import serving
from tests.pictures import png
from tests.serving import fake_checkpoint
from tests.waiting import until

pytestmark = pytest.mark.slow
WORDS = {"deadly": "poison", "hanging": "quicksand", "failing": "stone"}


async def _ask_student(service, question):
    """Over HTTP. The reason and the message of the error; None for an answer."""
    body = {"image": base64.b64encode(png()).decode(), "question": question}
    async with httpx.AsyncClient(timeout=60) as client:
        response = await client.post(f"http://127.0.0.1:{service.http_port}/v1/vqa", json=body)
    error = response.json().get("error")
    assert response.status_code == (
        200 if error is None else 500 if error["reason"] == "ENGINE_FAILED" else 503
    )
    return None if error is None else (error["reason"], error["message"])


async def _ask_teacher(service, question):
    """The same over gRPC."""
    async with grpc.aio.insecure_channel(service.address) as channel:
        request = teacher_pb2.TeacherServiceAnswerRequest(
            image=types_pb2.Image(data=png()), question=question
        )
        try:
            await teacher_pb2_grpc.TeacherServiceStub(channel).Answer(request, timeout=60)
            return None
        except grpc.aio.AioRpcError as error:
            status = from_rpc_error(error)
            expected = (
                grpc.StatusCode.INTERNAL
                if status.reason == "ENGINE_FAILED"
                else grpc.StatusCode.UNAVAILABLE
            )
            assert error.code() is expected
            return status.reason, str(status)


FACES = {"student": _ask_student, "teacher": _ask_teacher}


@pytest.fixture
def watchdog_s():
    return 1


@pytest.fixture
def served(request, tmp_path, watchdog_s):
    """A service with a watchdog, and how it is asked."""
    model = fake_checkpoint(tmp_path / "model", skill=1.0, **WORDS)
    own = {"store": tmp_path / "store"} if request.param == "student" else {}
    with serving(request.param, tmp_path, model=model, watchdog_s=watchdog_s, **own) as service:
        yield service, FACES[request.param]


def _is_ready(service):
    return httpx.get(f"http://127.0.0.1:{service.http_port}/readyz").status_code == 200


@pytest.mark.parametrize("served", FACES, indirect=True)
@pytest.mark.parametrize(("word", "reason"), [("poison", "deadly"), ("quicksand", "hangs")])
async def test_a_service_whose_engine_is_dead_is_not_ready_and_starts_another(served, word, reason):
    service, ask = served
    assert await ask(service, "what is this?") is None
    kind, message = await ask(service, f"what is this {word}?")
    assert kind == "UNAVAILABLE"
    assert reason in message
    await until(lambda: "is not ready" in service.log.read_text())
    await until(lambda: _is_ready(service))
    assert await ask(service, "what is this?") is None


@pytest.mark.parametrize("served", FACES, indirect=True)
async def test_a_question_that_the_engine_fails_on_is_an_error_of_its_own(served):
    service, ask = served
    assert (await ask(service, "what is this stone?"))[0] == "ENGINE_FAILED"
    assert await ask(service, "what is this?") is None
    assert _is_ready(service)


@pytest.mark.parametrize("served", FACES, indirect=True)
async def test_a_service_that_had_a_thread_hanging_ends_when_it_is_told_to(served):
    service, ask = served
    assert (await ask(service, "what is this quicksand?"))[0] == "UNAVAILABLE"
    await until(lambda: _is_ready(service))
    service.process.terminate()
    assert service.process.wait(60) in (0, -15)


@pytest.mark.parametrize("served", FACES, indirect=True)
@pytest.mark.parametrize("watchdog_s", [0])
async def test_a_service_whose_engine_hangs_ends_when_it_is_told_to(served):
    """Nobody has found out yet that it hangs, and its caller waits."""
    service, ask = served
    asking = asyncio.create_task(ask(service, "what is this quicksand?"))
    await asyncio.sleep(1)
    service.process.terminate()
    assert await asyncio.to_thread(service.process.wait, 90) in (0, -15)
    await asyncio.gather(asking, return_exceptions=True)
