"""Limits of a key on a real student: answers, images, disk space, trainings of a day."""

import os
import time
from contextlib import asynccontextmanager

import grpc
import pytest

from protos.mpa.v1 import student_pb2, training_pb2
from services.core.errors import MpaError, Overloaded
from services.engines.images import sha256
from services.rpc.access.keys import KeyLimits
from services.student.datasets import TrainingSample
from services.student.quotas import StorageAccounts
from services.student.uploads import STEP_BYTES, Upload
from tests.pictures import numbered_png
from tests.rpc.access.keyring import Keys, bearing
from tests.serving import fake_student_settings, serving_student
from tests.student.uploading import age, image_part, large, opened, sample_part

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@asynccontextmanager
async def limited(folder, *roles, **limits):
    """A student, and the metadata of a key with these limits."""
    keys = Keys(folder / "keys.json")
    token = keys.add("limited", *roles, limits=KeyLimits(**limits))
    async with serving_student(fake_student_settings(folder), keys.access()) as peer:
        yield peer, {"metadata": bearing(token)}


def asking(image):
    return student_pb2.AnswerRequest(image={"data": image}, question="what?")


async def code_of(call):
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_items_of_a_stream_are_counted_one_by_one(tmp_path):
    async with limited(tmp_path, "ask", requests_per_minute=3) as (peer, key):
        stream = peer.answers.AnswerStream(**key)
        for number in range(5):
            request = asking(numbered_png(1))
            await stream.write(student_pb2.AnswerStreamRequest(id=str(number), request=request))
        await stream.done_writing()
        replies = []
        while (message := await stream.read()) is not grpc.aio.EOF:
            replies += [message, *message.more]
        assert sorted(reply.error.code for reply in replies) == [0, 0, 0, *[EXHAUSTED.value[0]] * 2]


async def test_pixels_are_counted_for_images_named_by_hash_too(tmp_path):
    image = numbered_png(1)
    async with limited(tmp_path, "ask", pixels_per_minute=10) as (peer, key):
        assert await code_of(peer.answers.Answer(asking(image), **key)) is grpc.StatusCode.OK
        named = student_pb2.AnswerRequest(image={"sha256": sha256(image)}, question="what?")
        assert await code_of(peer.answers.Answer(named, **key)) is EXHAUSTED


async def test_bytes_are_counted_if_they_are_no_image(tmp_path):
    async with limited(tmp_path, "ask", bytes_per_minute=1000) as (peer, key):
        refused = await code_of(peer.answers.Answer(asking(bytes(2000)), **key))
        assert refused is grpc.StatusCode.INVALID_ARGUMENT
        assert await code_of(peer.answers.Answer(asking(numbered_png(1)), **key)) is EXHAUSTED


async def test_a_key_starts_so_many_trainings_a_day(tmp_path, monkeypatch):
    monkeypatch.setenv("MPA_FAKE_STEP_S", "0")
    async with limited(tmp_path, "train", trainings_per_day=1) as (peer, key):
        parts = iter([image_part(1), sample_part(1)])
        dataset = (await peer.training.UploadDataset(parts, **key)).dataset

        def train(request_id):
            request = training_pb2.TrainRequest(request_id=request_id, dataset=dataset)
            return code_of(peer.training.Train(request, **key))

        assert await train("one") is grpc.StatusCode.OK
        (name,) = peer.student.jobs.names()
        await peer.student.jobs.wait(name, 60)
        assert await train("one") is grpc.StatusCode.OK, "it is the same training"
        assert await train("two") is EXHAUSTED
        yesterday = time.time() - 86_500
        os.utime(tmp_path / "store" / "jobs" / name / "job.json", (yesterday, yesterday))
        assert await train("two") is grpc.StatusCode.OK


def send(room, key, numbers, most=0):
    upload = Upload(room, key, most)
    try:
        for number in numbers:
            upload.add_image(large(number))
        for number in numbers:
            upload.add_sample(TrainingSample(sha256(large(number)), "what?", "red"))
        return upload.finish()
    finally:
        upload.end()


SIZE = len(large(1))


def test_data_sets_of_a_key_have_a_quota(tmp_path):
    room = opened(tmp_path)
    most = 2 * SIZE + STEP_BYTES
    name = send(room, "a", [1], most)
    with pytest.raises(Overloaded, match="your key"):
        send(room, "a", [2, 3], most)
    send(room, "b", [4], most)
    with pytest.raises(Overloaded, match="your key"):
        send(opened(tmp_path), "a", [2, 3], most)  # also after a restart
    age(room, name, 7200)
    room.datasets.path(name).unlink()
    send(opened(tmp_path), "a", [2], most)  # its room is free again


def test_an_unfinished_upload_is_not_charged(tmp_path):
    room = opened(tmp_path)
    most = SIZE + STEP_BYTES
    upload = Upload(room, "a", most)
    upload.add_image(large(1))
    with pytest.raises(Overloaded):
        send(room, "a", [2], most)
    upload.end()
    send(room, "a", [2], most)


def test_a_data_set_is_charged_to_one_key(tmp_path):
    room = opened(tmp_path)
    most = SIZE + STEP_BYTES
    assert send(room, "a", [1], most) == send(room, "b", [1], most)
    send(room, "a", [2], most)
    with pytest.raises(Overloaded):
        send(room, "b", [3], most)


def test_a_data_set_that_nobody_could_be_charged_for_is_not_kept(tmp_path):
    """The note is on the disk first: neither a full disk nor a kill gives room for nothing."""
    name = send(opened(tmp_path / "elsewhere"), "a", [1])
    room = opened(tmp_path)
    most = SIZE + STEP_BYTES
    (room.datasets.root / f"{name}.owner" / "in the way").mkdir(parents=True)
    with pytest.raises(MpaError, match="can't be written"):
        send(room, "a", [1], most)
    assert room.datasets.names() == []
    send(room, "a", [2], most)


def test_a_damaged_note_charges_nobody(tmp_path):
    room = opened(tmp_path)
    name = send(room, "a", [1])
    (room.datasets.root / f"{name}.owner").write_text("{")
    accounts = StorageAccounts(room.datasets.root)
    accounts.load()
    accounts.take("a", SIZE, SIZE)
    accounts.forget(name)
    assert not (room.datasets.root / f"{name}.owner").exists()
