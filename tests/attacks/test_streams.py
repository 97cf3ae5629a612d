"""Abandoned calls and unread answers: other callers keep their room."""

import asyncio

import grpc
import pytest
from google.longrunning import operations_pb2
from google.protobuf.duration_pb2 import Duration

from protos.mpa.v1 import student_pb2, training_pb2, types_pb2, versions_pb2
from tests.attacks.bystander import IMAGE, SHA256, besieged
from tests.attacks.outcomes import ANSWER_STREAM, TRAIN, UPLOAD, call_once, method_of
from tests.attacks.target import PATIENCE_S

pytestmark = pytest.mark.slow
CALLS = 1_200
CHANNELS = 8
LIST = "/mpa.v1.VersionService/ListVersions"
WAIT = "/google.longrunning.Operations/WaitOperation"
CANCEL = "/google.longrunning.Operations/CancelOperation"


@pytest.fixture
async def channels(student):
    opened = [
        grpc.aio.insecure_channel(student.address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(CHANNELS)
    ]
    yield opened
    for channel in opened:
        await channel.close(None)


@pytest.fixture
def trainee(targets, model):
    """A student whose trainings take long."""
    return targets.get("trainee", "student", model=model, env={"MPA_FAKE_STEP_S": "5"})


async def is_answered(target, method, request):
    """An operator's call on a separate connection."""
    outcome = await call_once(target.address, method, request, timeout_s=PATIENCE_S)
    assert outcome.status == "OK", outcome.said


@pytest.mark.parametrize("name", [UPLOAD, ANSWER_STREAM])
async def test_calls_that_are_opened_and_left(student, channels, name):
    request = (
        training_pb2.UploadDatasetRequest(image=IMAGE)
        if name == UPLOAD
        else student_pb2.AnswerStreamRequest(
            id="x",
            request=student_pb2.AnswerRequest(image=types_pb2.Image(data=IMAGE), question="?"),
        )
    )
    async with besieged(student) as bystander:
        calls = [method_of(channels[number % CHANNELS], name)() for number in range(CALLS)]
        writes = [asyncio.create_task(each.write(request)) for each in calls]
        await asyncio.wait(writes, timeout=10)
        await asyncio.sleep(2)  # for the service to take up what it will
        await bystander.is_served()
        await is_answered(student, LIST, versions_pb2.ListVersionsRequest())
        for each in calls:
            each.cancel()
        for write in writes:
            write.cancel()
        await asyncio.gather(*writes, return_exceptions=True)


async def start_training(target):
    sample = training_pb2.TrainingSample(image_sha256=SHA256, question="what?", answer="teal")
    uploaded = await call_once(
        target.address,
        UPLOAD,
        training_pb2.UploadDatasetRequest(image=IMAGE),
        training_pb2.UploadDatasetRequest(sample=sample),
    )
    hyperparameters = training_pb2.Hyperparameters(epochs=1_000)
    request = training_pb2.TrainRequest(
        dataset=uploaded.reply.dataset, hyperparameters=hyperparameters
    )
    started = await call_once(target.address, TRAIN, request)
    assert started.status == "OK", started.said
    return started.reply.name


async def test_a_thousand_who_wait_for_a_training(trainee):
    async with besieged(trainee) as bystander:
        name = await start_training(trainee)
        opened = [
            grpc.aio.insecure_channel(
                trainee.address, options=[("grpc.use_local_subchannel_pool", 1)]
            )
            for _ in range(CHANNELS)
        ]
        request = operations_pb2.WaitOperationRequest(name=name, timeout=Duration(seconds=600))
        calls = [
            method_of(opened[number % CHANNELS], WAIT)(request, timeout=600)
            for number in range(CALLS)
        ]
        waiting = [asyncio.ensure_future(each) for each in calls]
        await asyncio.sleep(2)
        await bystander.is_served()
        await is_answered(trainee, LIST, versions_pb2.ListVersionsRequest())
        await is_answered(trainee, CANCEL, operations_pb2.CancelOperationRequest(name=name))
        done = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), PATIENCE_S)
        for channel in opened:
            await channel.close(None)
    codes = {
        result.code().name if isinstance(result, grpc.aio.AioRpcError) else "OK" for result in done
    }
    assert codes <= {"OK", "RESOURCE_EXHAUSTED"}


@pytest.mark.parametrize(
    "timeout",
    [
        Duration(seconds=-1),
        Duration(seconds=2**62),
        Duration(nanos=-(2**31)),
        Duration(nanos=2**31 - 1),
    ],
)
async def test_odd_durations_of_waiting(trainee, timeout):
    """They are refused, or end at once or with the training."""
    async with besieged(trainee):
        name = await start_training(trainee)
        request = operations_pb2.WaitOperationRequest(name=name, timeout=timeout)
        waiting = asyncio.create_task(call_once(trainee.address, WAIT, request))
        await asyncio.wait([waiting], timeout=1)
        await is_answered(trainee, CANCEL, operations_pb2.CancelOperationRequest(name=name))
        outcome = await waiting
    assert outcome.status in ("OK", "INVALID_ARGUMENT"), outcome.said


async def test_answers_that_nobody_reads(student):
    """The service stops reading from a caller that does not read, so nothing piles up."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.lookahead_bytes", 1024)]
    request = student_pb2.AnswerRequest(
        image=types_pb2.Image(sha256=SHA256), question="what? " * 600
    )
    items = [student_pb2.AnswerStreamRequest(id=f"{n}" * 40, request=request) for n in range(60)]
    message = student_pb2.AnswerStreamRequest(
        id="0" * 200, request=request, more=items, takes_more=False
    )
    async with (
        besieged(student) as bystander,
        grpc.aio.insecure_channel(student.address, options=options) as channel,
    ):
        unread = method_of(channel, ANSWER_STREAM)()

        async def write():
            for _ in range(2_000):
                await unread.write(message)

        writing = asyncio.create_task(write())
        await asyncio.wait([writing], timeout=10)
        await bystander.is_served()
        writing.cancel()
        unread.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def test_calls_that_are_cancelled_at_once(student, channels):
    request = student_pb2.AnswerRequest(image=types_pb2.Image(data=IMAGE), question="what?")
    async with besieged(student) as bystander:
        for _ in range(20):
            calls = [
                method_of(channel, "/mpa.v1.StudentService/Answer")(request)
                for channel in channels
                for _ in range(20)
            ]
            await asyncio.sleep(0.01)
            for each in calls:
                each.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        await bystander.is_served()


async def test_requests_that_are_taken_back_at_once(student):
    request = student_pb2.AnswerRequest(image=types_pb2.Image(data=IMAGE), question="what?")
    items = [
        item
        for number in range(2_000)
        for item in (
            student_pb2.AnswerStreamRequest(id=str(number), request=request),
            student_pb2.AnswerStreamRequest(id=str(number)),
        )
    ]
    async with besieged(student):
        outcome = await call_once(student.address, ANSWER_STREAM, *items, timeout_s=3 * PATIENCE_S)
    assert outcome.status == "OK", outcome.said


async def test_a_call_whose_deadline_is_past(student, channels):
    request = student_pb2.AnswerRequest(image=types_pb2.Image(data=IMAGE), question="what?")
    async with besieged(student):
        for _ in range(100):
            calls = [
                method_of(channel, "/mpa.v1.StudentService/Answer")(request, timeout=1e-6)
                for channel in channels
            ]
            await asyncio.gather(*calls, return_exceptions=True)
