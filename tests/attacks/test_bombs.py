"""Small files that need much memory or time to decode, several at once."""

import asyncio
import time

import httpx
import pytest

from protos.mpa.v1 import student_pb2, teacher_pb2, training_pb2, types_pb2
from tests.attacks.bystander import besieged
from tests.attacks.outcomes import ANSWER, UPLOAD, call_once, request
from tests.pictures import (
    bomb_webp,
    fax_tiff,
    many_frames_gif,
    many_scans_jpeg,
    slow_png,
    slow_tiff,
    wordy_png,
)

pytestmark = pytest.mark.slow
AT_ONCE = 8
LIVEZ_WITHIN_S = 10.0
"""A guard: no image blocks the event loop, even on a busy machine."""
ANNOTATE = "/mpa.v1.TeacherService/Annotate"


BOMBS = {
    "WebP": bomb_webp,
    "PNG": slow_png,
    "TIFF": slow_tiff,
    "fax page": fax_tiff,
    "JPEG of many scans": many_scans_jpeg,
    "PNG full of text": wordy_png,
    "GIF of many frames": many_frames_gif,
}


async def check_livez(url, took_s):
    """Adds how long each request takes to `took_s`."""
    async with httpx.AsyncClient(timeout=120) as http:
        while True:
            began = time.monotonic()
            try:
                assert (await http.get(f"{url}/livez")).status_code == 200
            finally:
                took_s.append(time.monotonic() - began)
            await asyncio.sleep(0.1)


async def send_all(target, sends):
    """Sends all at once and checks health meanwhile. Returns their statuses."""
    took_s = [0.0]
    async with besieged(target):
        checking = asyncio.create_task(check_livez(target.url, took_s))
        outcomes = await asyncio.gather(*sends)
        checking.cancel()
    assert max(took_s) < LIVEZ_WITHIN_S
    return {outcome.status for outcome in outcomes}


def variants(data):
    """The same image in different files, so that no cache has them."""
    return [data + bytes([number]) for number in range(AT_ONCE)]


@pytest.mark.parametrize("kind", BOMBS)
async def test_bombs_over_grpc(student, kind):
    requests = [
        student_pb2.AnswerRequest(image=types_pb2.Image(data=data), question="what?")
        for data in variants(BOMBS[kind]())
    ]
    statuses = await send_all(
        student, [call_once(student.address, ANSWER, each) for each in requests]
    )
    assert statuses <= {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}


@pytest.mark.parametrize("kind", ["WebP", "PNG"])
async def test_bombs_over_http(student, kind):
    files = variants(BOMBS[kind]())
    sends = [
        request(student.url, files={"image": data}, data={"question": "what?"}) for data in files
    ]
    assert await send_all(student, sends) <= {"200", "400", "429"}


@pytest.mark.parametrize("kind", ["WebP", "TIFF"])
async def test_bombs_to_be_trained_on(student, kind):
    requests = [training_pb2.UploadDatasetRequest(image=data) for data in variants(BOMBS[kind]())]
    statuses = await send_all(
        student, [call_once(student.address, UPLOAD, each) for each in requests]
    )
    assert statuses <= {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}, (
        "a dataset without samples is none, whatever its image"
    )


@pytest.mark.parametrize("kind", ["WebP", "JPEG of many scans"])
async def test_bombs_to_be_annotated(teacher, kind):
    requests = [
        teacher_pb2.AnnotateRequest(image=types_pb2.Image(data=data), task="vqa")
        for data in variants(BOMBS[kind]())
    ]
    statuses = await send_all(
        teacher, [call_once(teacher.address, ANNOTATE, each) for each in requests]
    )
    assert statuses <= {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
