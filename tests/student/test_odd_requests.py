"""Absurd requests to every method of the student: each ends as the caller's fault."""

import random

import grpc
import pytest
import pytest_asyncio
from google.longrunning import operations_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2

from protos.mpa.v1 import student_pb2, training_pb2, types_pb2, versions_pb2
from services.core.errors import InvalidInput
from services.rpc.status import from_rpc_error
from tests.pictures import png
from tests.serving import fake_student_settings, serving_student

IMAGE = png()
pytestmark = pytest.mark.asyncio(loop_scope="module")
ODD_NAMES = (
    "x" * 4_000,
    "v" + "9" * 200,
    "a\0b",
    "../../etc/passwd",
    "²",
    "v²",
    "\u0661",
    " ",
    "%s%n",
    "\ud7ff\ue000",
)
METHODS = {
    "/mpa.v1.StudentService/Answer": student_pb2.AnswerRequest,
    "/mpa.v1.VersionService/ListVersions": versions_pb2.ListVersionsRequest,
    "/mpa.v1.VersionService/GetVersion": versions_pb2.GetVersionRequest,
    "/mpa.v1.VersionService/LoadVersion": versions_pb2.LoadVersionRequest,
    "/mpa.v1.VersionService/PromoteVersion": versions_pb2.PromoteVersionRequest,
    "/mpa.v1.VersionService/RollbackVersion": versions_pb2.RollbackVersionRequest,
    "/mpa.v1.TrainingService/Train": training_pb2.TrainRequest,
    "/google.longrunning.Operations/GetOperation": operations_pb2.GetOperationRequest,
    "/google.longrunning.Operations/ListOperations": operations_pb2.ListOperationsRequest,
    "/google.longrunning.Operations/CancelOperation": operations_pb2.CancelOperationRequest,
    "/google.longrunning.Operations/WaitOperation": operations_pb2.WaitOperationRequest,
}
CALLERS_FAULT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.UNIMPLEMENTED,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def peer(tmp_path_factory):
    """One student for all tests: absurd requests change nothing."""
    settings = fake_student_settings(tmp_path_factory.mktemp("student"), skill=0.5)
    async with serving_student(settings) as peer:
        yield peer


def asking(**fields):
    return student_pb2.AnswerRequest(
        **{"image": types_pb2.Image(data=IMAGE), "question": "what?", **fields}
    )


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value


@pytest.mark.parametrize("name", ODD_NAMES, ids=range(len(ODD_NAMES)))
async def test_a_name_that_names_nothing_is_not_found_or_invalid(peer, name):
    operation = operations_pb2.GetOperationRequest(name=name)
    for call in (
        peer.answers.Answer(asking(version=name)),
        peer.answers.Answer(asking(image=types_pb2.Image(sha256=name))),
        peer.answers.Answer(asking(image=types_pb2.Image(uri=name))),
        peer.versions.GetVersion(versions_pb2.GetVersionRequest(name=name)),
        peer.versions.LoadVersion(versions_pb2.LoadVersionRequest(name=name)),
        peer.versions.PromoteVersion(versions_pb2.PromoteVersionRequest(name=name)),
        peer.training.Train(
            training_pb2.TrainRequest(request_id=name, dataset=name, base_version=name)
        ),
        peer.operations.GetOperation(operation),
        peer.operations.WaitOperation(operations_pb2.WaitOperationRequest(name=name)),
        peer.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=name)),
    ):
        refused = await refusal(call)
        assert refused.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
        assert from_rpc_error(refused).reason


@pytest.mark.parametrize(
    "decoding",
    [
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": -1.0},
        {"top_p": float("nan")},
        {"top_p": 2.0},
        {"max_new_tokens": -1},
        {"max_new_tokens": 2**31 - 1},
        {"seed": 2**63},
        {"seed": 2**64 - 1},
    ],
    ids=str,
)
async def test_a_number_out_of_range_is_invalid(peer, decoding):
    refused = await refusal(peer.answers.Answer(asking(decoding=types_pb2.Decoding(**decoding))))
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = from_rpc_error(refused)
    assert isinstance(error, InvalidInput)
    assert error.field.startswith("decoding.")


async def test_the_largest_seed_is_taken(peer):
    await peer.answers.Answer(asking(decoding=types_pb2.Decoding(seed=2**63 - 1, temperature=1.0)))


@pytest.mark.parametrize(
    "page",
    [
        {"page_token": "²"},
        {"page_token": "-1"},
        {"page_token": "9" * 200},
        {"page_token": "x"},
        {"page_size": -1},
    ],
    ids=str,
)
async def test_a_page_that_does_not_exist_is_invalid(peer, page):
    refused = await refusal(
        peer.operations.ListOperations(operations_pb2.ListOperationsRequest(**page))
    )
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_page_beyond_the_last_is_empty(peer):
    request = operations_pb2.ListOperationsRequest(page_token="7", page_size=2**31 - 1)
    assert not (await peer.operations.ListOperations(request)).operations


@pytest.mark.parametrize("seconds", [-1, -(2**63), 2**63 - 1])
async def test_a_wait_of_an_odd_length_is_told_what_is_wrong(peer, seconds):
    request = operations_pb2.WaitOperationRequest(
        name="operations/none", timeout=Duration(seconds=seconds, nanos=2**31 - 1)
    )
    assert (await refusal(peer.operations.WaitOperation(request))).code() in CALLERS_FAULT


async def test_an_odd_item_of_a_stream_ends_alone(peer):
    items = [
        asking(version="x" * 4_000),
        asking(decoding=types_pb2.Decoding(temperature=float("nan"))),
        asking(),
    ]
    requests = [
        student_pb2.AnswerStreamRequest(id=str(number), request=each)
        for number, each in enumerate(items)
    ]
    codes = {
        reply.id: reply.error.code async for reply in peer.answers.AnswerStream(iter(requests))
    }
    assert codes == {
        "0": code_pb2.INVALID_ARGUMENT,
        "1": code_pb2.INVALID_ARGUMENT,
        "2": code_pb2.OK,
    }


async def test_random_bytes_never_end_as_the_services_fault(peer):
    """Send a few hundred to every method; tests/attacks sends many more to real processes."""
    draw = random.Random(0)
    for method, kind in METHODS.items():
        call = peer.channel.unary_unary(
            method, request_serializer=bytes, response_deserializer=bytes
        )
        for _ in range(200):
            try:
                await call(_mutated(draw, kind), timeout=20)
            except grpc.aio.AioRpcError as refused:
                assert refused.code() in CALLERS_FAULT, (method, refused)
    assert (await peer.answers.Answer(asking())).version


def _mutated(draw, kind):
    """A message with some fields set and some bytes changed."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        if field.type == field.TYPE_STRING and draw.random() < 0.7:
            setattr(message, field.name, draw.choice((*ODD_NAMES, "v1", "", "operations/x")))
        elif field.name == "image" and draw.random() < 0.7:
            message.image.data = IMAGE
    data = bytearray(message.SerializeToString())
    for _ in range(draw.randrange(4)):
        if data:
            data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data) if draw.random() < 0.7 else draw.randbytes(draw.randrange(64))
