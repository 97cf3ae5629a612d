"""Odd values in every field of the contract: names, numbers, tokens of pages, durations."""

import math

import pytest
from google.longrunning import operations_pb2 as operations
from google.protobuf.duration_pb2 import Duration

from protos.mpa.v1 import student_pb2 as student_pb
from protos.mpa.v1 import teacher_pb2 as teacher_pb
from protos.mpa.v1 import training_pb2 as training
from protos.mpa.v1 import types_pb2 as types
from protos.mpa.v1 import versions_pb2 as versions
from tests.attacks.attack import over_grpc, withstand
from tests.attacks.bystander import IMAGE
from tests.attacks.outcomes import ANSWER, TRAIN

pytestmark = pytest.mark.slow
REFUSED = ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "ABORTED")
TAKEN = ("OK", "INVALID_ARGUMENT")
NAMES = {
    "empty": "",
    "with NUL": "v1\0",
    "upwards": "../../v1",
    "a slash": "/",
    "4,000 characters": "a" * 4_000,
    "a megabyte": "v" * 2**20,
    "a digit that is none": "v²",
    "a line break": "v1\n",
    "a version that will never be": "v" + "9" * 400,
    "right to left": "\u202ev1",
}
NUMBERS = {
    "not a number": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "minus one": -1.0,
    "1e308": 1e308,
}
COUNTS = {"-1": -1, "the least": -(2**31), "the most": 2**31 - 1}


def named(name, value):
    """Every method with a name in its request."""
    long_running, service = "/google.longrunning.Operations/", "/mpa.v1.VersionService/"
    operation = "operations/" + value
    return [
        over_grpc(
            f"GetVersion, {name}",
            service + "GetVersion",
            versions.GetVersionRequest(name=value),
            expected=REFUSED,
        ),
        over_grpc(
            f"LoadVersion, {name}",
            service + "LoadVersion",
            versions.LoadVersionRequest(name=value),
            expected=REFUSED,
        ),
        over_grpc(
            f"PromoteVersion, {name}",
            service + "PromoteVersion",
            versions.PromoteVersionRequest(name=value),
            expected=REFUSED,
        ),
        over_grpc(
            f"ExportVersion, {name}",
            service + "ExportVersion",
            versions.ExportVersionRequest(name=value),
            expected=REFUSED,
        ),
        over_grpc(
            f"GetOperation, {name}",
            long_running + "GetOperation",
            operations.GetOperationRequest(name=operation),
            expected=REFUSED,
        ),
        over_grpc(
            f"CancelOperation, {name}",
            long_running + "CancelOperation",
            operations.CancelOperationRequest(name=operation),
            expected=REFUSED,
        ),
        over_grpc(
            f"WaitOperation, {name}",
            long_running + "WaitOperation",
            operations.WaitOperationRequest(name=operation, timeout=Duration(seconds=1)),
            expected=REFUSED,
        ),
        over_grpc(
            f"Train, dataset {name}", TRAIN, training.TrainRequest(dataset=value), expected=REFUSED
        ),
        over_grpc(
            f"Answer, version {name}",
            ANSWER,
            asking(version=value),
            expected=("OK",) if not value else REFUSED,
        ),
    ]


def asking(**fields):
    return student_pb.AnswerRequest(image=types.Image(data=IMAGE), question="what is 1?", **fields)


def decoded(**decoding):
    return asking(decoding=types.Decoding(**decoding))


def listing(name, **fields):
    request = operations.ListOperationsRequest(**fields)
    return over_grpc(
        f"ListOperations, {name}",
        "/google.longrunning.Operations/ListOperations",
        request,
        expected=TAKEN,
    )


DECODINGS = [
    *(over_grpc(f"temperature {n}", ANSWER, decoded(temperature=v)) for n, v in NUMBERS.items()),
    *(
        over_grpc(f"top_p {n}", ANSWER, decoded(temperature=1.0, top_p=v))
        for n, v in NUMBERS.items()
    ),
    *(
        over_grpc(f"max_new_tokens {n}", ANSWER, decoded(max_new_tokens=v))
        for n, v in COUNTS.items()
    ),
    over_grpc("the largest seed", ANSWER, decoded(temperature=1.0, seed=2**64 - 1), expected=TAKEN),
]
PAGES = [
    *(listing(f"page size {name}", page_size=count) for name, count in COUNTS.items()),
    *(
        listing(f"page token {token[:9]!r}", page_token=token)
        for token in ("²", "-1", "x", "٣", "1e9", "9" * 5_000, "\0", "1" * 2**20)
    ),
    listing("filter of a megabyte", filter="x" * 2**20),
]
TASKS = [
    over_grpc(
        f"Annotate, task {name}",
        "/mpa.v1.TeacherService/Annotate",
        teacher_pb.AnnotateRequest(image=types.Image(data=IMAGE), task=value),
        expected=REFUSED,
    )
    for name, value in NAMES.items()
]


@pytest.mark.parametrize(
    "attack", [attack for name, value in NAMES.items() for attack in named(name, value)], ids=str
)
async def test_names(student, attack):
    await withstand(student, attack)


@pytest.mark.parametrize("attack", DECODINGS, ids=str)
async def test_decodings(student, attack):
    await withstand(student, attack)


@pytest.mark.parametrize("attack", PAGES, ids=str)
async def test_pages(student, attack):
    await withstand(student, attack)


@pytest.mark.parametrize("attack", TASKS, ids=str)
async def test_tasks_of_the_teacher(teacher, attack):
    await withstand(teacher, attack)
