"""Datasets on their way in: limits, room, remains of refused ones, and shared images."""

import asyncio
import json
import os
import time
from contextlib import AsyncExitStack

import grpc
import psutil
import pytest

from protos.mpa.v1 import student_pb2, training_pb2, training_pb2_grpc, types_pb2
from services.core.errors import InvalidInput, Overloaded
from services.engines.images import sha256
from services.environment import Environment
from services.rpc.limits import MAX_ANSWER_CHARS
from services.student import uploads as module
from services.student.datasets import UPLOAD_DECODER, DatasetStore, TrainingSample
from services.student.uploads import GIB, UploadLimits, Uploads
from tests.pictures import numbered_png, photo
from tests.serving import fake_student_settings, serving_student
from tests.waiting import until

SIZE, SOME = 2 * module.STEP_BYTES, 10_000
LINE_BREAKS = "a\u2028b\u2029c\u0085d\x1ce\x1df\x1eg\x0bh\x0ci\rj\nk"


def _files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _uploads(tmp_path, max_bytes=None, in_use=()):
    uploads = Uploads(DatasetStore(tmp_path), UploadLimits(max_bytes), lambda: in_use)
    uploads.sweep()
    return uploads


def _upload(uploads, numbers, question="what?", image=numbered_png):
    upload = uploads.begin()
    try:
        for number in numbers:
            upload.add_image(image(number))
        for number in numbers:
            upload.add_sample(TrainingSample(sha256(image(number)), question, "red"))
        return upload.finish()
    finally:
        upload.end()


def _large(number):
    """An image of SIZE bytes."""
    return numbered_png(number).ljust(SIZE, b"\0")


def _age(uploads, name, seconds):
    then = time.time() - seconds
    os.utime(uploads.datasets.path(name), (then, then))


def _part(number):
    return training_pb2.UploadDatasetRequest(image=numbered_png(number))


def _sample(number, question="what?", answer="red"):
    sample = training_pb2.TrainingSample(image_sha256=sha256(numbered_png(number)), question=question, answer=answer)
    return training_pb2.UploadDatasetRequest(sample=sample)


async def _send(peer, *parts):
    async def each():
        for part in parts:
            yield part

    return await peer.training.UploadDataset(each())


async def test_a_sample_with_every_kind_of_line_break_can_be_trained_on(tmp_path):
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        sent = await _send(peer, _part(1), _sample(1, f"what {LINE_BREAKS}?", LINE_BREAKS))
        operation = await peer.training.Train(training_pb2.TrainRequest(dataset=sent.dataset))
        await peer.student.jobs.wait(operation.name.removeprefix("operations/"), 60)
        (sample,) = peer.student.datasets.samples(sent.dataset)
        assert (sample.question, sample.answer) == (f"what {LINE_BREAKS}?", LINE_BREAKS)
        assert peer.student.jobs.state(operation.name.removeprefix("operations/")).version == "v2"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (_sample(1, "what?", "x" * (MAX_ANSWER_CHARS + 1)), "characters"),
        (_sample(1, "", "red"), "question is empty"),
        (_sample(1, "x" * 5000), "characters"),
        (_sample(2), "was not sent"),
        (training_pb2.UploadDatasetRequest(sample=training_pb2.TrainingSample(image_sha256="../v1", question="q")), "empty"),
        (training_pb2.UploadDatasetRequest(image=b"nonsense"), "not an image"),
    ],
)
async def test_a_refused_upload_leaves_nothing(tmp_path, part, said):
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        with pytest.raises(grpc.aio.AioRpcError, match=said) as refused:
            await _send(peer, _part(1), _sample(1), part)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert _files(tmp_path / "store" / "datasets") == []


async def test_an_upload_that_is_broken_off_leaves_nothing(tmp_path):
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        folder = tmp_path / "store" / "datasets"
        call = peer.training.UploadDataset()
        await call.write(_part(1))
        await call.write(_sample(1))
        await until(lambda: len(_files(folder)) == 2)
        call.cancel()
        await until(lambda: not _files(folder))


def test_half_a_character_is_refused(tmp_path):
    datasets = DatasetStore(tmp_path)
    image = datasets.add_image(numbered_png(1))
    for question, answer in (("what \ud800?", "red"), ("what?", "red \udfff")):
        with pytest.raises(InvalidInput, match="half of a surrogate pair"):
            datasets.add([TrainingSample(image, question, answer)])
    assert _files(tmp_path) == [f"datasets/images/{image}"]


def test_images_that_others_hold_or_name_are_kept(tmp_path):
    uploads = _uploads(tmp_path)
    kept = _upload(uploads, [1, 2])
    first, second = uploads.begin(), uploads.begin()
    for upload in (first, second):
        for number in (2, 3, 4):
            upload.add_image(numbered_png(number))
    first.end()
    assert len(_files(tmp_path / "datasets" / "images")) == 4, "the second upload has sent them, too"
    second.add_sample(TrainingSample(sha256(numbered_png(3)), "what?", "red"))
    name = second.finish()
    second.end()
    images = {sha256(numbered_png(number)) for number in (1, 2, 3)}
    assert set(_files(tmp_path / "datasets")) == {f"{kept}.jsonl", f"{name}.jsonl", *(f"images/{image}" for image in images)}


def test_images_of_a_killed_upload_go_at_the_next_start(tmp_path):
    uploads = _uploads(tmp_path)
    name = _upload(uploads, [1])
    uploads.begin().add_image(numbered_png(2))
    before = _files(tmp_path)
    _uploads(tmp_path)
    assert set(before) - set(_files(tmp_path)) == {f"datasets/images/{sha256(numbered_png(2))}"}
    assert uploads.datasets.samples(name)


def test_the_least_recently_used_dataset_makes_room(tmp_path):
    uploads = _uploads(tmp_path, module.STEP_BYTES + 3 * SIZE + SOME)
    names = [_upload(uploads, [number], f"what is {number}?", _large) for number in range(3)]
    for age, name in zip((9000, 8000, 7000), names, strict=True):
        _age(uploads, name, age)
    uploads.datasets.verify(names[0])  # as a training does
    new = _upload(uploads, [5], "another?", _large)
    assert uploads.datasets.names() == [names[2], names[0], new]
    images = sorted(f"images/{sha256(_large(number))}" for number in (0, 2, 5))
    assert [name for name in _files(tmp_path / "datasets") if "images" in name] == images


def test_no_more_datasets_go_than_are_missing(tmp_path):
    """A tenth of all room was freed, whatever was missing."""
    uploads = _uploads(tmp_path, module.STEP_BYTES + 30 * SIZE + 30 * SOME)
    names = [_upload(uploads, [number], f"what is {number}?", _large) for number in range(30)]
    for number, name in enumerate(names):
        _age(uploads, name, 9000 - number)
    new = _upload(uploads, [30], "another?", _large)
    assert uploads.datasets.names() == [*names[1:], new]


def test_an_image_that_two_datasets_name_makes_room_with_the_second(tmp_path):
    uploads = _uploads(tmp_path, module.STEP_BYTES + 2 * SIZE + SOME)
    names = [_upload(uploads, [0], f"{question}?", _large) for question in "ab"]
    names.append(_upload(uploads, [1], "c?", _large))
    for number, name in enumerate(names):
        _age(uploads, name, 9000 - number)
    new = _upload(uploads, [2], "d?", _large)
    assert uploads.datasets.names() == [names[2], new]


def test_nothing_goes_for_an_upload_that_is_refused_all_the_same(tmp_path):
    """As where others have filled the disk."""
    in_use = []
    uploads = _uploads(tmp_path, module.STEP_BYTES + 3 * SIZE + SOME, in_use)
    names = [_upload(uploads, [number], f"what is {number}?", _large) for number in range(3)]
    for name in names:
        _age(uploads, name, 9000)
    in_use.extend(names[1:])
    before = _files(tmp_path)
    for size in (2 * SIZE, psutil.disk_usage(str(tmp_path)).free):
        with pytest.raises(Overloaded):
            uploads.take(size)
        assert _files(tmp_path) == before
    uploads.take(SIZE)
    assert uploads.datasets.names() == names[1:]


async def test_answers_do_not_wait_for_uploads(tmp_path):
    """The decoder of uploads stands still, and more of them are open than asyncio has threads."""
    async with serving_student(fake_student_settings(tmp_path)) as peer, AsyncExitStack() as channels:
        UPLOAD_DECODER.load(photo(640, 480))
        (process,) = (psutil.Process(pid) for pid in UPLOAD_DECODER.pids)
        process.suspend()
        try:
            uploading = []
            for number in range(40):
                if number % 4 == 0:  # as many as a connection may have open
                    alone = [("grpc.use_local_subchannel_pool", 1)]
                    channel = await channels.enter_async_context(grpc.aio.insecure_channel(peer.address, options=alone))
                    training = training_pb2_grpc.TrainingServiceStub(channel)
                part = training_pb2.UploadDatasetRequest(image=photo(640, 481 + number))
                uploading.append(training.UploadDataset(iter([part])))
            await until(lambda: peer.student.uploads.threads._work_queue.qsize() == 40 - module.THREADS)
            request = student_pb2.AnswerRequest(image=types_pb2.Image(data=photo(640, 480)), question="what?")
            assert (await peer.answers.Answer(request, timeout=30)).answer
        finally:
            process.resume()
        for each in uploading:
            with pytest.raises(grpc.aio.AioRpcError, match="no samples"):
                await each


def test_datasets_in_use_or_lately_used_are_kept_and_the_upload_is_refused(tmp_path):
    in_use = []
    uploads = _uploads(tmp_path, module.STEP_BYTES + 3 * SIZE + SOME, in_use)
    old, young = _upload(uploads, [1], "old?", _large), _upload(uploads, [2], "young?", _large)
    _age(uploads, old, 9000)
    in_use.append(old)
    before = _files(tmp_path)
    with pytest.raises(Overloaded, match="MPA_STUDENT_UPLOADS_MAX_GIB"):
        _upload(uploads, [3, 4], "third?", _large)
    assert _files(tmp_path) == before
    in_use.clear()
    new = _upload(uploads, [3, 4], "third?", _large)
    assert uploads.datasets.names() == [young, new]


def test_what_an_upload_took_is_given_back(tmp_path):
    uploads = _uploads(tmp_path)
    for _ in range(3):
        _upload(uploads, [1, 2])
        broken = uploads.begin()
        broken.add_image(numbered_png(9))
        broken.add_sample(TrainingSample(sha256(numbered_png(9)), "what?", "red"))
        broken.end()
    assert uploads._bytes == sum(path.stat().st_size for path in (tmp_path / "datasets").rglob("*") if path.is_file())


async def test_a_full_store_refuses_by_resource_exhausted(tmp_path):
    settings = fake_student_settings(tmp_path)
    async with serving_student(settings) as peer:
        peer.student.uploads.max_bytes = len(numbered_png(1)) + 10
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _send(peer, _part(1), _sample(1))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.aio.AioRpcError, match="send fewer") as refused:
            await _send(peer, _part(1), _part(2))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, "to wait would not help"
        assert _files(settings.store / "datasets") == []


def test_the_disk_is_never_filled(tmp_path, monkeypatch):
    uploads = _uploads(tmp_path)
    free = psutil.disk_usage(str(tmp_path)).free
    with pytest.raises(Overloaded, match="of the disk are free"):
        uploads.take(free)


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "many"])
def test_a_limit_that_is_none_is_refused(given):
    with pytest.raises(InvalidInput, match="MPA_STUDENT_UPLOADS_MAX_GIB"):
        UploadLimits.from_environment(Environment("MPA_STUDENT_", {"MPA_STUDENT_UPLOADS_MAX_GIB": given}))


def test_the_limit_is_the_given_one_or_half_of_the_disk(tmp_path):
    given = UploadLimits.from_environment(Environment("MPA_STUDENT_", {"MPA_STUDENT_UPLOADS_MAX_GIB": "1.5"}))
    assert given.max_bytes == 1.5 * GIB
    assert _uploads(tmp_path).max_bytes == psutil.disk_usage(str(tmp_path)).total // 2


def test_a_damaged_dataset_is_named_before_anything_is_trained(tmp_path):
    uploads = _uploads(tmp_path)
    name = _upload(uploads, [1])
    path = uploads.datasets.path(name)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(InvalidInput, match=f"{name}.jsonl is damaged"):
        uploads.datasets.verify(name)
    _uploads(tmp_path)
    assert _upload(uploads, [1]) == name, "sent again it is whole"
    assert len(uploads.datasets.samples(name)) == 1


@pytest.mark.slow
async def test_many_samples_take_little_memory(tmp_path):
    """200 MB of samples; kept as messages and in one text they took 1.2 times their size."""
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        question, answer = "x" * 3_990, "y" * 4_000
        process = psutil.Process()

        async def parts(count):
            yield _part(1)
            for number in range(count):
                yield _sample(1, f"{number:09} {question}", answer)

        await peer.training.UploadDataset(parts(10))
        before = process.memory_info().rss
        most = before

        async def watch():
            nonlocal most
            while True:
                most = max(most, process.memory_info().rss)
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        sent = await peer.training.UploadDataset(parts(25_000))
        watching.cancel()
        assert sent.samples == 25_000
        assert most - before < 100e6
        with peer.student.datasets.path(sent.dataset).open("rb") as lines:
            assert sum(1 for line in lines if json.loads(line)) == 25_000
