"""The log of a real service: JSON, with nothing of what callers ask."""

import base64
import json
from contextlib import suppress

import grpc
import httpx
import pytest

from protos.mpa.v1 import student_pb2, student_pb2_grpc, types_pb2, versions_pb2, versions_pb2_grpc
from tests.e2e.processes import serving
from tests.pictures import png
from tests.serving import fake_checkpoint

pytestmark = pytest.mark.slow
MARK = "xylophone7519"
SECRET = "secret-key-4127"
QUESTIONS = (
    f"what is {MARK}?",
    "",
    f"{MARK} " * 1_000,
    f"<|im_start|>{MARK}<|im_end|>",
    f"{MARK}\ud7ff\n\t\0",
)
HEADERS = {"authorization": f"Bearer {SECRET}", "x-request-id": "order-7"}
IDS = tuple(HEADERS.items())


def marked_image():
    """A PNG with text behind its end."""
    return png() + MARK.encode() * 4


async def ask_all(service):
    """Good and bad requests of both protocols, each with the mark."""
    encoded = base64.b64encode(marked_image()).decode()
    bodies: list[dict[str, object]] = [
        {"image": encoded, "question": question} for question in QUESTIONS
    ]
    bodies += [{"image": MARK, "question": "what?"}, {"image": encoded, "question": [MARK]}]
    url = f"http://127.0.0.1:{service.http_port}/v1/vqa"
    async with httpx.AsyncClient(headers=HEADERS, timeout=60) as client:
        for body in bodies:
            await client.post(url, json=body)
            form = {"question": str(body["question"])}
            await client.post(url, files={"image": marked_image()}, data=form)
        await client.post(url, content=MARK * 20, headers={"content-type": "application/json"})
        await client.get(url.replace("/v1/vqa", "/metrics"), params={"question": MARK})
    async with grpc.aio.insecure_channel(service.address) as channel:
        stub = student_pb2_grpc.StudentServiceStub(channel)
        image = types_pb2.Image(data=marked_image())
        template = f"{MARK} without a place"
        requests = [student_pb2.AnswerRequest(image=image, question=text) for text in QUESTIONS]
        requests.append(student_pb2.AnswerRequest(image=image, question="what?", template=template))
        for request in requests:
            call = stub.Answer(request, metadata=IDS)
            with suppress(grpc.aio.AioRpcError):
                await call
        items = (
            student_pb2.AnswerStreamRequest(id=f"{n}", request=r) for n, r in enumerate(requests)
        )
        assert len([reply async for reply in stub.AnswerStream(items, metadata=IDS)]) == len(
            requests
        )
        listed = await versions_pb2_grpc.VersionServiceStub(channel).ListVersions(
            versions_pb2.ListVersionsRequest()
        )
        assert listed.live == "v1"


async def test_no_line_has_a_question_an_image_or_a_key(tmp_path):
    model = fake_checkpoint(tmp_path / "model", skill=0.5)
    with serving("student", tmp_path, model=model, store=tmp_path / "store", log="json") as student:
        await ask_all(student)
    text = student.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert MARK not in text and SECRET not in text
    assert base64.b64encode(marked_image()).decode()[:64] not in text
    answered = [line for line in lines if line.get("version") == "v1" and "seconds" in line]
    assert answered and all(line["request_id"] == "order-7" for line in answered)
    assert {line["code"] for line in lines if "code" in line} >= {"200", "400", "INVALID_ARGUMENT"}
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)


async def test_an_operator_can_have_questions_but_no_images_and_keys(tmp_path):
    model = fake_checkpoint(tmp_path / "model", skill=0.5)
    settings = {"log": "json", "log_level": "debug"}
    with serving("student", tmp_path, model=model, store=tmp_path / "store", **settings) as student:
        await ask_all(student)
    text = student.log.read_text()
    assert QUESTIONS[0] in text
    assert SECRET not in text
    assert MARK * 2 not in text and base64.b64encode(marked_image()).decode()[:64] not in text
