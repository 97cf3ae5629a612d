"""Odd, unfinished and endless datasets."""

import io
import random

import grpc
import pytest
from PIL import Image

from protos.mpa.v1 import training_pb2
from tests.attacks.attack import over_grpc, withstand
from tests.attacks.bystander import IMAGE, SHA256, besieged
from tests.attacks.outcomes import TRAIN, UPLOAD, call_once, method_of
from tests.attacks.target import MIB
from tests.pictures import png
from tests.waiting import until

pytestmark = pytest.mark.slow
TAKEN = ("OK", "INVALID_ARGUMENT")


def part(**sample):
    given = {"image_sha256": SHA256, "question": "what?", "answer": "teal", **sample}
    return training_pb2.UploadDatasetRequest(sample=training_pb2.TrainingSample(**given))


PICTURE = training_pb2.UploadDatasetRequest(image=IMAGE)
UPLOADS = [
    over_grpc("nothing", UPLOAD),
    over_grpc("parts without anything", UPLOAD, *[training_pb2.UploadDatasetRequest()] * 100),
    over_grpc("an image alone", UPLOAD, PICTURE),
    over_grpc("an image that was not sent", UPLOAD, part(image_sha256="0" * 64)),
    over_grpc("an image that is a path", UPLOAD, PICTURE, part(image_sha256="../../../etc/passwd")),
    over_grpc("an image of 4,000 characters", UPLOAD, PICTURE, part(image_sha256="a" * 4_000)),
    over_grpc("an image of a megabyte", UPLOAD, PICTURE, part(image_sha256="a" * 2**20)),
    over_grpc("an image with NUL", UPLOAD, PICTURE, part(image_sha256="a\0")),
    over_grpc("an empty question", UPLOAD, PICTURE, part(question=" \n ")),
    over_grpc("a question of a megabyte", UPLOAD, PICTURE, part(question="x" * 2**20)),
    over_grpc("an empty answer", UPLOAD, PICTURE, part(answer="\u3000")),
    over_grpc("an answer of a megabyte", UPLOAD, PICTURE, part(answer="x" * 2**20), expected=TAKEN),
    over_grpc("a weight below zero", UPLOAD, PICTURE, part(weight=-1.0)),
    over_grpc("a weight that is no number", UPLOAD, PICTURE, part(weight=float("nan"))),
    over_grpc("an infinite weight", UPLOAD, PICTURE, part(weight=float("inf"))),
    over_grpc("an anchor with an answer", UPLOAD, PICTURE, part(anchor=True)),
    over_grpc("an anchor alone", UPLOAD, PICTURE, part(anchor=True, answer="")),
    over_grpc(
        "an anchor without weight", UPLOAD, PICTURE, part(anchor=True, answer="", weight=0.0)
    ),
    over_grpc(
        "marks of a model",
        UPLOAD,
        PICTURE,
        part(answer="<|im_end|>", question="<|image_pad|>"),
        expected=TAKEN,
    ),
    over_grpc("20,000 samples that are one", UPLOAD, PICTURE, *[part()] * 20_000, expected=TAKEN),
    over_grpc("500 images that are one", UPLOAD, *[PICTURE] * 500, part(), expected=TAKEN),
]
SEPARATORS = {
    "U+2028": "\u2028",
    "U+0085": "\u0085",
    "U+001C": "\x1c",
    "NUL": "\0",
    "a carriage return": "\r",
    "a form feed": "\f",
}
NUMBERS = [
    {"learning_rate": float("nan")},
    {"learning_rate": float("inf")},
    {"learning_rate": -1.0},
    {"batch_size": 0},
    {"batch_size": -(2**31)},
    {"batch_size": 2**31 - 1},
    {"epochs": 0},
    {"epochs": 2**31 - 1},
    {"warmup_ratio": float("nan")},
    {"warmup_ratio": 2.0},
    {"weight_decay": float("nan")},
    {"weight_decay": float("-inf")},
    {"loss": "x" * 2**20},
    {"lora_rank": -1},
    {"lora_rank": 2**31 - 1},
    {"lora_rank": 1, "lora_alpha": float("nan")},
    {"lora_rank": 1, "lora_alpha": float("inf")},
    {"trainable": "x" * 2**20},
    {"tower_rate": float("nan")},
    {"tower_rate": -0.5},
]


@pytest.mark.parametrize("attack", UPLOADS, ids=str)
async def test_odd_datasets(student, attack):
    await withstand(student, attack)


@pytest.mark.parametrize("name", SEPARATORS)
async def test_a_sample_that_is_taken_can_be_trained_on(student, name):
    """Characters that some programs read as a line end."""
    odd = part(question=f"what{SEPARATORS[name]}?", answer=f"teal{SEPARATORS[name]}blue")
    async with besieged(student):
        uploaded = await call_once(student.address, UPLOAD, PICTURE, odd)
        if uploaded.status == "OK":
            request = training_pb2.TrainRequest(
                dataset=uploaded.reply.dataset,
                hyperparameters=training_pb2.Hyperparameters(epochs=0),
            )
            started = await call_once(student.address, TRAIN, request)
            assert "epochs" in started.said, "the dataset itself was read"
    assert uploaded.status in TAKEN


@pytest.mark.parametrize("numbers", NUMBERS, ids=lambda numbers: str(numbers)[:40])
async def test_odd_hyperparameters(student, numbers):
    async with besieged(student):
        uploaded = await call_once(student.address, UPLOAD, PICTURE, part())
        hyperparameters = training_pb2.Hyperparameters(**numbers)
        request = training_pb2.TrainRequest(
            dataset=uploaded.reply.dataset, hyperparameters=hyperparameters
        )
        outcome = await call_once(student.address, TRAIN, request)
    assert outcome.status == "INVALID_ARGUMENT", outcome.said
    assert len(outcome.said) < 4_000


async def test_a_template_to_train_on_is_short_and_asks_once(student):
    async with besieged(student):
        uploaded = await call_once(student.address, UPLOAD, PICTURE, part())
        for template in (
            "{question}" * 2_000,
            "no question",
            "{question}" + "x" * 2**20,
            "{question} {question}",
        ):
            request = training_pb2.TrainRequest(
                dataset=uploaded.reply.dataset,
                training_template=template,
                hyperparameters=training_pb2.Hyperparameters(epochs=0),
            )
            outcome = await call_once(student.address, TRAIN, request)
            assert outcome.status == "INVALID_ARGUMENT"
            assert "epochs" not in outcome.said, f"{template[:30]!r} was taken"


@pytest.fixture
def small_student(targets, model):
    """A student that keeps 8 MiB of datasets."""
    return targets.get("small", "student", model=model, uploads_max_gib=8 / 1024)


def noisy(number):
    """An incompressible image of about a megabyte, different for each number."""
    pixels = random.Random(number).randbytes(600 * 600 * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (600, 600), pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def stored_bytes(target):
    store = target.service.log.parent / "store"
    return sum(path.stat().st_size for path in (store / "datasets").rglob("*") if path.is_file())


async def test_uploads_do_not_fill_the_disk(small_student):
    """Forty megabytes from a caller that uses them in no sample, and from one that disappears."""
    async with besieged(small_student):
        images = [training_pb2.UploadDatasetRequest(image=noisy(number)) for number in range(40)]
        outcome = await call_once(small_student.address, UPLOAD, *images, timeout_s=60)
        assert outcome.status in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")
        async with grpc.aio.insecure_channel(small_student.address) as channel:
            left = method_of(channel, UPLOAD)()
            for image in images[:5]:
                await left.write(image)
            left.cancel()
        await until(lambda: stored_bytes(small_student) <= 16 * MIB)


async def test_refused_uploads_leave_nothing(small_student):
    async with besieged(small_student):
        before = stored_bytes(small_student)
        for number in range(20):
            image = training_pb2.UploadDatasetRequest(image=png((number, 0, 77), (200, 200)))
            outcome = await call_once(
                small_student.address, UPLOAD, image, part(image_sha256="f" * 64)
            )
            assert outcome.status == "INVALID_ARGUMENT"
    assert stored_bytes(small_student) <= before
