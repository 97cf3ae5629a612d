"""Room for uploads: quota, removal of old datasets, and free disk space."""

import os
import time

import grpc
import psutil
import pytest

from services.core.errors import InvalidInput, Overloaded
from services.engines.images import sha256
from services.environment import Environment
from services.student.datasets import TrainingSample
from services.student.upload_room import GIB, UploadLimits
from services.student.uploads import STEP_BYTES, Upload
from tests.pictures import numbered_png
from tests.serving import fake_student_settings, serving_student
from tests.student.uploading import (
    SIZE,
    SOME,
    age,
    files_in,
    image_part,
    large,
    opened,
    sample_part,
    send,
    take,
)


def test_the_least_recently_used_dataset_makes_room(tmp_path):
    room = opened(tmp_path, STEP_BYTES + 3 * SIZE + SOME)
    names = [take(room, [number], f"what is {number}?", large) for number in range(3)]
    for seconds, name in zip((9000, 8000, 7000), names, strict=True):
        age(room, name, seconds)
    room.datasets.verify(names[0])  # as a training does
    new = take(room, [5], "another?", large)
    assert room.datasets.names() == [names[2], names[0], new]
    images = sorted(f"images/{sha256(large(number))}" for number in (0, 2, 5))
    assert [name for name in files_in(tmp_path / "datasets") if "images" in name] == images


def test_no_more_datasets_go_than_are_missing(tmp_path):
    """An earlier release freed a tenth of all room."""
    room = opened(tmp_path, STEP_BYTES + 30 * SIZE + 30 * SOME)
    names = [take(room, [number], f"what is {number}?", large) for number in range(30)]
    for number, name in enumerate(names):
        age(room, name, 9000 - number)
    new = take(room, [30], "another?", large)
    assert room.datasets.names() == [*names[1:], new]


def test_an_image_that_two_datasets_name_makes_room_with_the_second(tmp_path):
    room = opened(tmp_path, STEP_BYTES + 2 * SIZE + SOME)
    names = [take(room, [0], f"{question}?", large) for question in "ab"]
    names.append(take(room, [1], "c?", large))
    for number, name in enumerate(names):
        age(room, name, 9000 - number)
    new = take(room, [2], "d?", large)
    assert room.datasets.names() == [names[2], new]


def test_nothing_goes_for_an_upload_that_is_refused_all_the_same(tmp_path):
    """For example on a disk that others have filled."""
    in_use = []
    room = opened(tmp_path, STEP_BYTES + 3 * SIZE + SOME, in_use)
    names = [take(room, [number], f"what is {number}?", large) for number in range(3)]
    for name in names:
        age(room, name, 9000)
    in_use.extend(names[1:])
    before = files_in(tmp_path)
    for size in (2 * SIZE, psutil.disk_usage(str(tmp_path)).free):
        with pytest.raises(Overloaded):
            room.take(size)
        assert files_in(tmp_path) == before
    room.take(SIZE)
    assert room.datasets.names() == names[1:]


def test_datasets_in_use_or_lately_used_are_kept_and_the_upload_is_refused(tmp_path):
    in_use = []
    room = opened(tmp_path, STEP_BYTES + 3 * SIZE + SOME, in_use)
    old, young = take(room, [1], "old?", large), take(room, [2], "young?", large)
    age(room, old, 9000)
    in_use.append(old)
    before = files_in(tmp_path)
    with pytest.raises(Overloaded, match="MPA_STUDENT_UPLOADS_MAX_GIB"):
        take(room, [3, 4], "third?", large)
    assert files_in(tmp_path) == before
    in_use.clear()
    new = take(room, [3, 4], "third?", large)
    assert room.datasets.names() == [young, new]


def test_a_clock_that_jumps_makes_no_dataset_old(tmp_path):
    """Its file is a day old as soon as the clock is set forward a day."""
    room = opened(tmp_path, STEP_BYTES + 2 * SIZE + SOME)
    name = take(room, [1], "young?", large)
    yesterday = time.time() - 86_400
    os.utime(room.datasets.path(name), (yesterday, yesterday))
    with pytest.raises(Overloaded):
        take(room, [2, 3], "another?", large)
    assert room.datasets.names() == [name]


def test_what_an_upload_took_is_given_back(tmp_path):
    room = opened(tmp_path)
    for _ in range(3):
        take(room, [1, 2])
        broken = Upload(room)
        broken.add_image(numbered_png(9))
        broken.add_sample(TrainingSample(sha256(numbered_png(9)), "what?", "red"))
        broken.end()
    assert room._bytes == sum(
        path.stat().st_size for path in (tmp_path / "datasets").rglob("*") if path.is_file()
    )


async def test_a_full_store_refuses_by_resource_exhausted(tmp_path):
    settings = fake_student_settings(tmp_path)
    async with serving_student(settings) as peer:
        peer.student.uploads.max_bytes = len(numbered_png(1)) + 10
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await send(peer, image_part(1), sample_part(1))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.aio.AioRpcError, match="send fewer") as refused:
            await send(peer, image_part(1), image_part(2))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, "to wait would not help"
        assert files_in(settings.store / "datasets") == []


def test_the_disk_is_never_filled(tmp_path, monkeypatch):
    room = opened(tmp_path)
    free = psutil.disk_usage(str(tmp_path)).free
    with pytest.raises(Overloaded, match="of the disk are free"):
        room.take(free)


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "many"])
def test_a_limit_that_is_none_is_refused(given):
    with pytest.raises(InvalidInput, match="MPA_STUDENT_UPLOADS_MAX_GIB"):
        UploadLimits.from_environment(
            Environment("MPA_STUDENT_", {"MPA_STUDENT_UPLOADS_MAX_GIB": given})
        )


def test_the_limit_is_the_given_one_or_half_of_the_disk(tmp_path):
    given = UploadLimits.from_environment(
        Environment("MPA_STUDENT_", {"MPA_STUDENT_UPLOADS_MAX_GIB": "1.5"})
    )
    assert given.max_bytes == 1.5 * GIB
    assert opened(tmp_path).max_bytes == psutil.disk_usage(str(tmp_path)).total // 2
