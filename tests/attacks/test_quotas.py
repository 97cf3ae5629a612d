"""Callers who would take more than their key allows, or what belongs to another key."""

import asyncio
import hashlib
import io
import random

import grpc
import pytest
from google.longrunning import operations_pb2
from PIL import Image

from protos.mpa.v1 import student_pb2, training_pb2, types_pb2
from tests.attacks.bystander import IMAGE, SHA256, besieged
from tests.attacks.outcomes import ANSWER, ANSWER_STREAM, TRAIN, UPLOAD, call_once, request
from tests.waiting import until, until_awaited

pytestmark = pytest.mark.slow
CANCEL = "/google.longrunning.Operations/CancelOperation"
GET = "/google.longrunning.Operations/GetOperation"
LIST = "/google.longrunning.Operations/ListOperations"
FIELDS = {"question": "what is 1?"}


def asking(image=IMAGE):
    return student_pb2.AnswerRequest(image=types_pb2.Image(data=image), question="what is 1?")


def bearing(token):
    return (("authorization", f"Bearer {token}"),)


def noisy(number, size=600):
    """An incompressible image of about a megabyte, different for each number."""
    pixels = random.Random(f"quota {number}").randbytes(size * size * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (size, size), pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


async def over_http(target, token, image=IMAGE, **headers):
    header = {"authorization": f"Bearer {token}", **headers}
    return await request(target.url, files={"image": image}, data=FIELDS, headers=header)


async def test_a_rate_over_many_connections_and_both_protocols(guarded, keys):
    """Twenty a minute, however they come: addresses, protocols, and letters of a header."""
    token = keys.tokens["few"]
    async with besieged(guarded):
        outcomes = []
        for _ in range(15):
            outcomes += await asyncio.gather(
                over_http(guarded, token, **{"x-forwarded-for": "8.8.8.8"}),
                over_http(guarded, token, **{"x-request-id": "another"}),
                call_once(guarded.address, ANSWER, asking(), metadata=bearing(token)),
                call_once(
                    guarded.address,
                    ANSWER,
                    asking(),
                    metadata=(("authorization", f"bEARER   {token} "),),
                ),
            )
    answered = sum(outcome.status in ("200", "OK") for outcome in outcomes)
    assert 20 <= answered <= 30
    assert {outcome.status for outcome in outcomes} <= {"200", "OK", "429", "RESOURCE_EXHAUSTED"}


async def test_a_rate_within_one_stream(guarded, keys):
    """A stream of hundreds of items is one call, but each item counts."""
    items = [student_pb2.AnswerStreamRequest(id=str(n), request=asking()) for n in range(300)]
    async with besieged(guarded):
        outcome = await call_once(
            guarded.address, ANSWER_STREAM, *items, metadata=bearing(keys.tokens["few"])
        )
    replies = [each for reply in outcome.replies for each in (reply, *reply.more)]
    assert sum(each.HasField("response") for each in replies) <= 25


async def test_more_requests_at_once_than_allowed(guarded, keys):
    token = keys.tokens["narrow"]
    async with besieged(guarded):
        outcomes = await asyncio.gather(*(over_http(guarded, token) for _ in range(40)))
        assert {outcome.status for outcome in outcomes} <= {"200", "429"}
        for _ in range(20):
            calls = [
                asyncio.ensure_future(
                    call_once(guarded.address, ANSWER, asking(), metadata=bearing(token))
                )
                for _ in range(4)
            ]
            await asyncio.sleep(0.002)
            for each in calls:
                each.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        await until_awaited(lambda: _is_answered(guarded, token))


@pytest.mark.parametrize("kind", ["bytes", "pixels"])
async def test_images_beyond_a_rate(guarded, keys, kind):
    """An image may exceed what is left; the next one waits, also if it is named by its hash."""
    image = noisy(1) if kind == "bytes" else _blank()
    async with besieged(guarded):
        token = keys.tokens["light"]
        outcomes = [await over_http(guarded, token, image) for _ in range(3)]
        named = student_pb2.AnswerRequest(image=types_pb2.Image(sha256=SHA256), question="what?")
        by_hash = await call_once(guarded.address, ANSWER, named, metadata=bearing(token))
    assert [outcome.status for outcome in outcomes[1:]] == ["429", "429"]
    assert by_hash.status == "RESOURCE_EXHAUSTED"


def _blank():
    buffer = io.BytesIO()
    Image.new("RGB", (4_000, 3_000)).save(buffer, "PNG")
    return buffer.getvalue()


def part(image, number):
    sample = training_pb2.TrainingSample(
        image_sha256=hashlib.sha256(image).hexdigest(),
        question=f"what is {number}?",
        answer="teal",
    )
    return training_pb2.UploadDatasetRequest(sample=sample)


async def test_uploads_at_once_beyond_the_disk_space_of_a_key(guarded, keys):
    """Each would fit alone. Refused and abandoned ones give their room back."""
    metadata = bearing(keys.tokens["small"])

    async def upload(number):
        images = [noisy(10 * number + each) for each in range(2)]
        sent = [training_pb2.UploadDatasetRequest(image=image) for image in images]
        sent += [part(image, number) for image in images]
        return await call_once(guarded.address, UPLOAD, *sent, metadata=metadata, timeout_s=60)

    async with besieged(guarded):
        outcomes = await asyncio.gather(*(upload(number) for number in range(6)))
        statuses = [outcome.status for outcome in outcomes]
        assert statuses.count("OK") <= 1, "two data sets of 2.1 MiB exceed 4 MiB"
        assert set(statuses) <= {"OK", "RESOURCE_EXHAUSTED"}
        small = [training_pb2.UploadDatasetRequest(image=IMAGE), part(IMAGE, 0)]
        again = await call_once(guarded.address, UPLOAD, *small, metadata=metadata)
        assert again.status == "OK", again.said


async def trained(target, keys, name, request_id=""):
    """Starts a training of an uploaded data set."""
    metadata = bearing(keys.tokens[name])
    uploaded = await call_once(
        target.address,
        UPLOAD,
        training_pb2.UploadDatasetRequest(image=IMAGE),
        part(IMAGE, name),
        metadata=metadata,
    )
    assert uploaded.status == "OK", uploaded.said
    asked = training_pb2.TrainRequest(dataset=uploaded.reply.dataset, request_id=request_id)
    return await call_once(target.address, TRAIN, asked, metadata=metadata)


async def ended(target, keys, name, training):
    asked = operations_pb2.GetOperationRequest(name=training)

    async def is_done():
        got = await call_once(target.address, GET, asked, metadata=bearing(keys.tokens[name]))
        return got.reply.done

    await until_awaited(is_done)


async def test_trainings_of_a_day_that_are_cancelled_or_named_again(guarded, keys):
    async with besieged(guarded):
        for number in range(2):
            started = await trained(guarded, keys, "rare", f"rare {number}")
            assert started.status == "OK", started.said
            cancel = operations_pb2.CancelOperationRequest(name=started.reply.name)
            metadata = bearing(keys.tokens["rare"])
            await call_once(guarded.address, CANCEL, cancel, metadata=metadata)
            await ended(guarded, keys, "rare", started.reply.name)
        for name in ("", "rare 2", "another\n"):
            assert (await trained(guarded, keys, "rare", name)).status in (
                "RESOURCE_EXHAUSTED",
                "INVALID_ARGUMENT",
            )


async def test_trainings_of_another_key(guarded, keys):
    """A key with `train` alone neither sees nor cancels them, nor lists any."""
    started = await trained(guarded, keys, "train")
    assert started.status == "OK", started.said
    other = bearing(keys.tokens["rare"])
    named = {"name": started.reply.name}
    async with besieged(guarded):
        for method, asked in (
            (GET, operations_pb2.GetOperationRequest(**named)),
            (CANCEL, operations_pb2.CancelOperationRequest(**named)),
        ):
            outcome = await call_once(guarded.address, method, asked, metadata=other)
            assert outcome.status in ("NOT_FOUND", "PERMISSION_DENIED"), method
        listing = await call_once(
            guarded.address, LIST, operations_pb2.ListOperationsRequest(), metadata=other
        )
        assert listing.status == "PERMISSION_DENIED"
    await ended(guarded, keys, "train", started.reply.name)


async def test_refusals_do_not_hide_those_of_another_key(guarded, keys):
    """The audit log holds both, whoever floods it."""
    audit = guarded.service.log.parent / "store" / "audit.jsonl"
    promote = "/mpa.v1.VersionService/RollbackVersion"
    async with besieged(guarded):
        before = audit.read_text() if audit.exists() else ""
        flood, quiet = bearing(keys.tokens["read"]), bearing(keys.tokens["bystander"])
        for _ in range(3):
            await asyncio.gather(
                *(call_once(guarded.address, promote, b"", metadata=flood) for _ in range(20))
            )
        await call_once(guarded.address, promote, b"", metadata=quiet)
        await until(lambda: keys.ids["bystander"] in audit.read_text()[len(before) :])
    lines = audit.read_text()[len(before) :].splitlines()
    assert len(lines) < 30, "a flood does not push out other lines"


async def test_a_stream_ends_with_its_key(guarded, keys):
    token = keys.add("leaver", "ask")
    async with besieged(guarded), grpc.aio.insecure_channel(guarded.address) as channel:
        await _is_known(guarded, token)
        stream = channel.stream_stream(ANSWER_STREAM)(metadata=bearing(token))
        await stream.wait_for_connection()
        keys.revoke("leaver")
        with pytest.raises(grpc.aio.AioRpcError) as ended_:
            await asyncio.wait_for(stream.read(), 30)
        assert ended_.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert (await over_http(guarded, token)).status == "401"


async def _is_known(target, token):
    """Waits until the service has read the file of keys again."""
    await until_awaited(lambda: _is_answered(target, token))


async def _is_answered(target, token):
    return (await over_http(target, token)).status == "200"
