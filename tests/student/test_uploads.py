"""Uploads of datasets: samples, remains of refused uploads, and shared images."""

import asyncio
import json
from contextlib import AsyncExitStack

import grpc
import psutil
import pytest

from protos.mpa.v1 import student_pb2, training_pb2, training_pb2_grpc, types_pb2
from services.core.errors import InvalidInput
from services.engines.images import sha256
from services.rpc.limits import MAX_ANSWER_CHARS
from services.student.datasets import UPLOAD_DECODER, DatasetStore, TrainingSample
from services.student.upload_room import THREADS
from services.student.uploads import Upload
from tests.pictures import numbered_png, photo
from tests.serving import fake_student_settings, serving_student
from tests.student.uploading import (
    LINE_BREAKS,
    files_in,
    image_part,
    opened,
    sample_part,
    send,
    take,
)
from tests.waiting import until


async def test_a_sample_with_every_kind_of_line_break_can_be_trained_on(tmp_path):
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        sent = await send(peer, image_part(1), sample_part(1, f"what {LINE_BREAKS}?", LINE_BREAKS))
        operation = await peer.training.Train(training_pb2.TrainRequest(dataset=sent.dataset))
        await peer.student.jobs.wait(operation.name.removeprefix("operations/"), 60)
        (sample,) = peer.student.datasets.samples(sent.dataset)
        assert (sample.question, sample.answer) == (f"what {LINE_BREAKS}?", LINE_BREAKS)
        assert peer.student.jobs.state(operation.name.removeprefix("operations/")).version == "v2"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (sample_part(1, "what?", "x" * (MAX_ANSWER_CHARS + 1)), "characters"),
        (sample_part(1, "", "red"), "question is empty"),
        (sample_part(1, "x" * 5000), "characters"),
        (sample_part(2), "was not sent"),
        (
            training_pb2.UploadDatasetRequest(
                sample=training_pb2.TrainingSample(image_sha256="../v1", question="q")
            ),
            "empty",
        ),
        (training_pb2.UploadDatasetRequest(image=b"nonsense"), "not an image"),
        (sample_part(1, weight=0.0), "sample 'what\\?' .* the weight 0: give 0.001 to 1,000"),
        (sample_part(1, weight=float("nan")), "sample.weight is nan"),
        (sample_part(1, weight=1000.5), "the weight 1000.5"),
    ],
)
async def test_a_refused_upload_leaves_nothing(tmp_path, part, said):
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        with pytest.raises(grpc.aio.AioRpcError, match=said) as refused:
            await send(peer, image_part(1), sample_part(1), part)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert files_in(tmp_path / "store" / "datasets") == []


async def test_weights_are_kept_and_a_weight_of_1_changes_no_name(tmp_path):
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        plain = await send(peer, image_part(1), sample_part(1))
        ones = await send(peer, image_part(1), sample_part(1, weight=1.0))
        halves = await send(peer, image_part(1), sample_part(1, weight=0.5))
        datasets = peer.student.datasets
        (line,) = datasets.path(plain.dataset).read_text().splitlines()
        assert json.loads(line).keys() == {"image_sha256", "question", "answer"}
        assert plain.dataset == ones.dataset != halves.dataset
        weights = [datasets.samples(name)[0].weight for name in (ones.dataset, halves.dataset)]
        assert weights == [1.0, 0.5]


async def test_an_upload_that_is_broken_off_leaves_nothing(tmp_path):
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        folder = tmp_path / "store" / "datasets"
        call = peer.training.UploadDataset()
        await call.write(image_part(1))
        await call.write(sample_part(1))
        await until(lambda: len(files_in(folder)) == 2)
        call.cancel()
        await until(lambda: not files_in(folder))


def test_half_a_character_is_refused(tmp_path):
    datasets = DatasetStore(tmp_path)
    image = datasets.add_image(numbered_png(1))
    for question, answer in (("what \ud800?", "red"), ("what?", "red \udfff")):
        with pytest.raises(InvalidInput, match="half of a surrogate pair"):
            datasets.add([TrainingSample(image, question, answer)])
    assert files_in(tmp_path) == [f"datasets/images/{image}"]


def test_images_that_others_hold_or_name_are_kept(tmp_path):
    room = opened(tmp_path)
    kept = take(room, [1, 2])
    first, second = Upload(room), Upload(room)
    for upload in (first, second):
        for number in (2, 3, 4):
            upload.add_image(numbered_png(number))
    first.end()
    assert len(files_in(tmp_path / "datasets" / "images")) == 4, (
        "the second upload has sent them, too"
    )
    second.add_sample(TrainingSample(sha256(numbered_png(3)), "what?", "red"))
    name = second.finish()
    second.end()
    images = {sha256(numbered_png(number)) for number in (1, 2, 3)}
    assert set(files_in(tmp_path / "datasets")) == {
        f"{kept}.jsonl",
        f"{name}.jsonl",
        *(f"images/{image}" for image in images),
    }


def test_images_of_a_killed_upload_go_at_the_next_start(tmp_path):
    room = opened(tmp_path)
    name = take(room, [1])
    Upload(room).add_image(numbered_png(2))
    before = files_in(tmp_path)
    opened(tmp_path)
    assert set(before) - set(files_in(tmp_path)) == {f"datasets/images/{sha256(numbered_png(2))}"}
    assert room.datasets.samples(name)


async def test_answers_do_not_wait_for_uploads(tmp_path):
    """The decoder of uploads is suspended; more uploads are open than asyncio has threads."""
    async with (
        serving_student(fake_student_settings(tmp_path)) as peer,
        AsyncExitStack() as channels,
    ):
        UPLOAD_DECODER.load(photo(640, 480))
        (process,) = (psutil.Process(pid) for pid in UPLOAD_DECODER.pids)
        process.suspend()
        try:
            uploading = []
            for number in range(40):
                if number % 4 == 0:  # as many as a connection may have open
                    alone = [("grpc.use_local_subchannel_pool", 1)]
                    channel = await channels.enter_async_context(
                        grpc.aio.insecure_channel(peer.address, options=alone)
                    )
                    training = training_pb2_grpc.TrainingServiceStub(channel)
                part = training_pb2.UploadDatasetRequest(image=photo(640, 481 + number))
                uploading.append(training.UploadDataset(iter([part])))
            await until(lambda: peer.student.uploads.threads._work_queue.qsize() == 40 - THREADS)
            request = student_pb2.AnswerRequest(
                image=types_pb2.Image(data=photo(640, 480)), question="what?"
            )
            assert (await peer.answers.Answer(request, timeout=30)).answer
        finally:
            process.resume()
        for each in uploading:
            with pytest.raises(grpc.aio.AioRpcError, match="no samples"):
                await each


def test_a_damaged_dataset_is_named_before_anything_is_trained(tmp_path):
    room = opened(tmp_path)
    name = take(room, [1])
    path = room.datasets.path(name)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(InvalidInput, match=f"{name}.jsonl is damaged"):
        room.datasets.verify(name)
    opened(tmp_path)
    assert take(room, [1]) == name, "sent again it is whole"
    assert len(room.datasets.samples(name)) == 1


@pytest.mark.slow
async def test_many_samples_take_little_memory(tmp_path):
    """200 MB of samples: an earlier release needed 1.2 times their size in memory."""
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        question, answer = "x" * 3_990, "y" * 4_000
        process = psutil.Process()

        async def parts(count):
            yield image_part(1)
            for number in range(count):
                yield sample_part(1, f"{number:09} {question}", answer)

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
