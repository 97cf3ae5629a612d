"""Samples of users' requests: their choice, their limits, and requests that never wait."""

import asyncio
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from protos.mpa.v1 import student_pb2, types_pb2
from services.core.errors import InvalidInput
from services.engines.images import load_image, sha256
from services.rpc.client import Picture, StudentClient
from services.rpc.http.completions.images import ImageUrls
from services.rpc.http.entrance import Entrance
from services.rpc.http.limits import HttpLimits
from services.rpc.images import ImageReceiver
from services.rpc.load_shedding import LoadShedder
from services.student.completions import StudentCompletions
from services.student.http import student_app
from services.student.production import (
    WAITING,
    ProductionSamples,
    RequestSample,
    SampleSettings,
    Segments,
)
from services.student.servicers import StudentServicer
from services.student.settings import StudentSettings
from tests.pictures import numbered_png
from tests.serving import fake_student_settings, serving_student
from tests.student.calls import IMAGE, ask


def lines(folder):
    return [
        json.loads(line)
        for path in sorted(folder.glob("*/samples.jsonl"))
        for line in path.read_bytes().splitlines()
    ]


def taken(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def sampling(tmp_path, rate=1.0, **model):
    """Settings of a student that samples, and its folder of samples."""
    folder = tmp_path / "samples"
    return replace(
        fake_student_settings(tmp_path, **model), samples=SampleSettings(folder, rate, 2**30)
    ), folder


async def test_what_users_ask_the_live_version_is_kept_with_its_image(tmp_path):
    settings, folder = sampling(tmp_path, skill=0.5)
    async with serving_student(settings) as peer:
        first = await peer.answers.Answer(ask())
        named = student_pb2.AnswerRequest(
            image=types_pb2.Image(sha256=sha256(IMAGE)), question="what, in two\nlines?"
        )
        second = await peer.answers.Answer(named)
        streamed = [
            response
            async for response in peer.answers.AnswerStream(
                iter([student_pb2.AnswerStreamRequest(id="1", request=ask("streamed?"))])
            )
        ]
    kept = lines(folder)
    assert [line["question"] for line in kept] == [
        "what color is object 1?",
        "what, in two\nlines?",
        "streamed?",
    ]
    assert [line["answer"] for line in kept] == [
        first.answer,
        second.answer,
        streamed[0].response.answer,
    ]
    assert {(line["image"], line["version"]) for line in kept} == {(sha256(IMAGE), "v1")}
    images = list(folder.glob("*/images/*"))
    assert [(path.name, path.read_bytes()) for path in images] == [(sha256(IMAGE), IMAGE)], (
        "once, as it was sent"
    )
    assert set(kept[0]) == {"image", "question", "answer", "version", "time"}, (
        "nothing tells who asked"
    )


async def test_requests_over_http_are_sampled_too(tmp_path):
    settings, folder = sampling(tmp_path)
    async with serving_student(settings) as peer:
        images, shedder = ImageReceiver(), LoadShedder()
        app = student_app(
            StudentServicer(lambda: peer.student, images),
            StudentCompletions(lambda: peer.student, images, shedder),
            ImageUrls(),
        )
        app.state.entrance = Entrance(HttpLimits(), shedder)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://student"
        ) as http:
            given = await http.post(
                "/v1/vqa", files={"image": IMAGE}, data={"question": "over http?"}
            )
    assert given.status_code == 200
    assert [(line["question"], line["answer"]) for line in lines(folder)] == [
        ("over http?", given.json()["answer"])
    ]


async def test_what_an_orchestrator_asks_is_no_sample(tmp_path):
    settings, folder = sampling(tmp_path)
    picture = Picture(sha256(IMAGE), IMAGE)
    async with serving_student(settings) as peer, StudentClient(peer.address) as client:
        await client.answer(picture, "pinned, as in PI and evaluation?", version="v1")
        await client.answer(picture, "traffic of a swap?", retry=False)
        await peer.answers.Answer(ask("in the caller's own words?", template="Say: {question}"))
        await client.answer(picture, "by a user?")
    assert [line["question"] for line in lines(folder)] == ["by a user?"]


async def test_a_request_that_fails_is_no_sample(tmp_path):
    settings, folder = sampling(tmp_path)
    async with serving_student(settings) as peer:
        for request in (ask(""), ask(image=b"no image")):
            with pytest.raises(Exception, match="INVALID_ARGUMENT"):
                await peer.answers.Answer(request)
    assert lines(folder) == []


async def test_nothing_is_kept_unless_it_is_asked_for(tmp_path):
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        await peer.answers.Answer(ask())
        assert peer.student.samples.dropped == 0
    assert not list(tmp_path.rglob("samples.jsonl"))


async def test_the_rate_is_a_share_of_the_requests(tmp_path):
    settings, folder = sampling(tmp_path, rate=0.25)
    async with serving_student(settings) as peer:
        for burst in range(10):
            await asyncio.gather(
                *(peer.answers.Answer(ask(f"{burst} {number}?")) for number in range(40))
            )
    assert 50 < len(lines(folder)) < 160  # 100 of 400, +- 6 standard deviations


def sample(number: int, padding: int = 0) -> RequestSample:
    return RequestSample(
        load_image(numbered_png(number)), f"what is {number}?" + "x" * padding, "red", "v1"
    )


def test_the_oldest_segment_goes_when_the_limit_is_reached(tmp_path):
    limit = 512 * 1024
    segments = Segments(tmp_path, limit)
    for number in range(400):
        segments.add(sample(number))
        if number % 20 == 0:
            assert taken(tmp_path) <= limit
    segments.close()
    kept = [line["question"] for line in lines(tmp_path)]
    assert kept == [f"what is {number}?" for number in range(400 - len(kept), 400)], (
        "the latest, in order"
    )
    assert 40 < len(kept) < 128
    for line in lines(tmp_path):
        assert list(tmp_path.glob(f"*/images/{line['image']}")), "no line without its image"


def test_the_limit_holds_over_restarts_and_nothing_else_is_touched(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x" * 10_000)
    for restart in range(12):
        segments = Segments(tmp_path, 128 * 1024)
        for number in range(8):
            segments.add(sample(100 * restart + number))
        segments.close()
    assert taken(tmp_path) - 10_000 <= 128 * 1024
    assert (tmp_path / "mine" / "notes.txt").exists()
    assert lines(tmp_path)[-1]["question"] == "what is 1107?"


def test_a_sample_beyond_the_whole_limit_is_left_out(tmp_path):
    segments = Segments(tmp_path, 16 * 1024)
    segments.add(sample(1, padding=20_000))
    segments.add(sample(2, padding=100))
    assert [line["question"][:10] for line in lines(tmp_path)] == ["what is 2?"]


def test_a_segment_that_vanishes_costs_a_sample_and_no_more(tmp_path):
    """For example when somebody tidies up, or a disk disappears for a while."""
    segments = Segments(tmp_path, 2**20)
    segments.add(sample(1))
    for path in tmp_path.iterdir():
        path.rename(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="No such file"):
        segments.add(sample(2))
    segments.add(sample(3))
    segments.close()
    assert {line["question"] for line in lines(tmp_path)} == {"what is 1?", "what is 3?"}


def test_a_writer_that_is_stuck_holds_no_request_up(tmp_path):
    """The file is a pipe without a reader, so the thread is stuck, and the queue overflows."""
    samples = ProductionSamples(SampleSettings(tmp_path, 1.0, 2**40))
    one = sample(1, padding=200_000)
    reading, writing = os.pipe()
    samples.offer(one.image, "first", "red", "v1")
    until = time.monotonic() + 30
    while not lines(tmp_path):
        assert time.monotonic() < until
    os.dup2(
        writing, next(int(file.name) for file in Path("/proc/self/fd").iterdir() if _is_log(file))
    )
    try:
        for _ in range(WAITING + 20):
            samples.offer(one.image, one.question, one.answer, one.version)
        assert samples.dropped >= 18
    finally:
        os.close(writing)
        os.close(reading)  # the writer gets an error, and goes on in a new segment
    samples.close()
    assert lines(tmp_path)[-1]["question"] == one.question


def _is_log(file: Path) -> bool:
    try:
        return file.readlink().name == "samples.jsonl"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAMPLE_RATE", "1.5"),
        ("SAMPLE_RATE", "-1"),
        ("SAMPLES_MAX_GIB", "0"),
        ("SAMPLES_MAX_GIB", "nan"),
    ],
)
def test_a_wrong_setting_names_its_variable(name, value):
    with pytest.raises(InvalidInput, match=f"MPA_STUDENT_{name}"):
        StudentSettings.from_env({f"MPA_STUDENT_{name}": value})


def test_a_folder_that_cannot_be_written_is_told_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="MPA_STUDENT_SAMPLES"):
        ProductionSamples(SampleSettings(tmp_path / "file", 1.0, 2**30))
