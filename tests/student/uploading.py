"""Uploads of numbered images, as a store and as a client make them."""

import os
import time

from protos.mpa.v1 import training_pb2
from services.engines.images import sha256
from services.student.datasets import DatasetStore, TrainingSample
from services.student.upload_room import UploadLimits, UploadRoom
from services.student.uploads import STEP_BYTES, Upload
from tests.pictures import numbered_png

SIZE = 2 * STEP_BYTES
SOME = 10_000
LINE_BREAKS = "a\u2028b\u2029c\u0085d\x1ce\x1df\x1eg\x0bh\x0ci\rj\nk"


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def opened(tmp_path, max_bytes=None, in_use=()):
    room = UploadRoom(DatasetStore(tmp_path), UploadLimits(max_bytes), lambda: in_use)
    room.sweep()
    return room


def take(room, numbers, question="what?", image=numbered_png):
    upload = Upload(room)
    try:
        for number in numbers:
            upload.add_image(image(number))
        for number in numbers:
            upload.add_sample(TrainingSample(sha256(image(number)), question, "red"))
        return upload.finish()
    finally:
        upload.end()


def large(number):
    """An image of SIZE bytes."""
    return numbered_png(number).ljust(SIZE, b"\0")


def age(room, name, seconds):
    then = time.time() - seconds
    os.utime(room.datasets.path(name), (then, then))
    room.datasets._used.pop(name, None)  # as after a restart


def image_part(number):
    return training_pb2.UploadDatasetRequest(image=numbered_png(number))


def sample_part(number, question="what?", answer="red", weight=None):
    sample = training_pb2.TrainingSample(
        image_sha256=sha256(numbered_png(number)), question=question, answer=answer, weight=weight
    )
    return training_pb2.UploadDatasetRequest(sample=sample)


async def send(peer, *parts):
    async def each():
        for part in parts:
            yield part

    return await peer.training.UploadDataset(each())
