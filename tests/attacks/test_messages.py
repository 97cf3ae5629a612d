"""Bytes that are no message of the contract, and far too large messages, to every method."""

import pytest

from protos.mpa.v1 import student_pb2, teacher_pb2, types_pb2
from tests.attacks.attack import over_grpc, withstand
from tests.attacks.bystander import IMAGE, besieged
from tests.attacks.outcomes import ANSWER_STREAM, STUDENT_METHODS, TEACHER_METHODS, call_once

pytestmark = pytest.mark.slow
NO_MESSAGES = {
    "an unfinished number": b"\xff\xff\xff",
    "a length beyond the end": b"\x0a\xff\xff\xff\xff\x07abc",
    "a group that never ends": b"\x0b" * 200,
    "text that is not UTF-8": b"\x12\x02\xff\xfe\x0a\x02\xff\xfe",
}
NOT_OFFERED = "/google.longrunning.Operations/DeleteOperation"
TEACHER_STREAM = "/mpa.v1.TeacherService/AnswerStream"


def item(name, question="what?"):
    request = student_pb2.AnswerRequest(image=types_pb2.Image(data=IMAGE), question=question)
    return student_pb2.AnswerStreamRequest(id=name, request=request)


def malformed(methods):
    """The first bytes to every method, the others only to methods of different kinds."""
    chosen = [(method, "an unfinished number") for method in methods if method != NOT_OFFERED]
    for name in list(NO_MESSAGES)[1:3]:
        chosen += [
            (method, name)
            for method in methods
            if method.endswith(("/Answer", "/AnswerStream", "/UploadDataset"))
        ]
    chosen += [
        (method, "text that is not UTF-8") for method in methods if method.endswith("/Answer")
    ]
    return [over_grpc(f"{name} to {method}", method, NO_MESSAGES[name]) for method, name in chosen]


@pytest.mark.parametrize("attack", malformed(STUDENT_METHODS), ids=str)
async def test_no_message_of_the_student(student, attack):
    await withstand(student, attack)


@pytest.mark.parametrize("attack", malformed(TEACHER_METHODS), ids=str)
async def test_no_message_of_the_teacher(teacher, attack):
    await withstand(teacher, attack)


@pytest.mark.parametrize("at", [0, 25, 50])
async def test_one_bad_message_in_a_stream_costs_no_other_its_answer(student, at):
    sent = [item(str(number), f"what is {number}?") for number in range(50)]
    sent.insert(at, b"\xff\xff\xff")
    async with besieged(student):
        outcome = await call_once(student.address, ANSWER_STREAM, *sent)
    answered = {
        each.id
        for reply in outcome.replies
        for each in (reply, *reply.more)
        if each.HasField("response")
    }
    assert outcome.status in ("OK", "INVALID_ARGUMENT"), outcome.said
    before = {str(number) for number in range(at)}
    everybody = {str(number) for number in range(50)}
    assert answered == everybody if outcome.status == "OK" else before <= answered


async def test_the_same_id_fifty_times_is_answered_or_refused_each_time(student):
    async with besieged(student):
        outcome = await call_once(
            student.address, ANSWER_STREAM, *[item("same", f"what is {n}?") for n in range(50)]
        )
    assert outcome.status in ("OK", "INVALID_ARGUMENT")
    if outcome.status == "OK":
        assert sum(1 + len(reply.more) for reply in outcome.replies) == 50


def empty_items(kind, count):
    return kind(id="x", more=[kind()] * count)


def nested(kind, depth):
    """Nested items, written by hand because protobuf builds them slowly."""
    number, inner = kind.DESCRIPTOR.fields_by_name["more"].number, kind(id="in").SerializeToString()
    for _ in range(depth):
        length, size = len(inner), b""
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        inner = bytes([number << 3 | 2]) + size + bytes([length]) + inner
    return inner


@pytest.mark.parametrize(
    "attack",
    [
        over_grpc(
            "10 MB of empty items",
            ANSWER_STREAM,
            empty_items(student_pb2.AnswerStreamRequest, 5_000_000),
        ),
        over_grpc("65 items", ANSWER_STREAM, empty_items(student_pb2.AnswerStreamRequest, 65)),
        over_grpc("items 90 deep", ANSWER_STREAM, nested(student_pb2.AnswerStreamRequest, 90)),
        over_grpc(
            "items 5,000 deep", ANSWER_STREAM, nested(student_pb2.AnswerStreamRequest, 5_000)
        ),
        over_grpc(
            "a message of 33 MiB",
            ANSWER_STREAM,
            bytes(33 * 2**20),
            expected=("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"),
        ),
        over_grpc(
            "an id of a megabyte",
            ANSWER_STREAM,
            item("x" * 2**20),
            expected=("OK", "INVALID_ARGUMENT"),
        ),
        over_grpc(
            "an item without anything", ANSWER_STREAM, b"", expected=("OK", "INVALID_ARGUMENT")
        ),
    ],
    ids=str,
)
async def test_too_much_in_one_message(student, attack):
    await withstand(student, attack)


async def test_too_much_in_one_message_to_the_teacher(teacher):
    much = empty_items(teacher_pb2.TeacherServiceAnswerStreamRequest, 5_000_000)
    await withstand(teacher, over_grpc("10 MB of empty items", TEACHER_STREAM, much))
