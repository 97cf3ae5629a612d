"""Nonsense from callers, and the answers to it."""

import grpc
import pytest
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.mpa.v1 import student_pb2
from services.core.errors import InvalidInput
from services.rpc.messages import MOST_ITEMS
from services.rpc.request_id import HEADER
from services.rpc.status import from_rpc_error
from tests.rpc.callers import ANSWER, SERVICES, STREAM, UPLOAD, asking, item, raw, refusal


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        (ANSWER, "unary_unary"),
        (UPLOAD, "stream_unary"),
        ("/grpc.health.v1.Health/Check", "unary_unary"),
        ("/grpc.health.v1.Health/Watch", "unary_stream"),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "stream_stream"),
    ],
)
async def test_bytes_that_are_no_message_are_an_invalid_argument(peer, method, kind):
    bad = b"\xff\xff\xff"
    call = raw(peer.channel, method, kind)(iter([bad]) if kind.startswith("stream") else bad)
    refused = await refusal(call.read() if kind.endswith("stream") else call)
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert from_rpc_error(refused).reason == "MALFORMED"


async def test_a_call_without_a_request_is_an_invalid_argument(peer):
    refused = await refusal(raw(peer.channel, ANSWER, "stream_unary")(iter([])))
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert from_rpc_error(refused).reason == "REQUEST_MISSING"


async def test_a_bad_message_of_a_stream_is_answered_and_the_others_are_served(peer):
    items = [item(str(number)).SerializeToString() for number in range(50)]
    cut_off = item("cut off").SerializeToString()[:-2]
    messages = [*items[:25], b"\xff\xff", b"\x0b a group", cut_off, *items[25:]]
    replies = [
        student_pb2.AnswerStreamResponse.FromString(reply)
        async for reply in raw(peer.channel, STREAM, "stream_stream")(iter(messages))
    ]
    answered = {reply.id for reply in replies if reply.HasField("response")}
    assert answered == {str(number) for number in range(50)}
    bad = {reply.id: reply.error.code for reply in replies if reply.HasField("error")}
    assert bad == {"": code_pb2.INVALID_ARGUMENT, "cut off": code_pb2.INVALID_ARGUMENT}


async def test_a_method_of_the_contract_that_no_service_has_is_unimplemented(peer):
    delete = raw(peer.channel, "/google.longrunning.Operations/DeleteOperation", "unary_unary")
    refused = await refusal(delete(b""))
    assert refused.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_lists_every_service(peer):
    stub = health_pb2_grpc.HealthStub(peer.channel)
    listed = await stub.List(health_pb2.HealthListRequest())
    assert set(listed.statuses) == {"", *SERVICES}
    assert all(each.status == each.SERVING for each in listed.statuses.values())


def nested():
    inner = student_pb2.AnswerStreamRequest(id="inner", more=[item("innermost")])
    return student_pb2.AnswerStreamRequest(id="outer", more=[inner]).SerializeToString()


TOO_MANY = {
    "one item too many": student_pb2.AnswerStreamRequest(
        id="outer", more=[item("x")] * MOST_ITEMS
    ).SerializeToString(),
    "five million empty items": b"\x0a\x05outer" + b"\x1a\x00" * 5_000_000,
    "items within an item": nested(),
    "five million empty items within an item": b"\x0a\x05outer\x1a"
    + b"\x80\xad\xe2\x04"
    + b"\x1a\x00" * 5_000_000,
    "five million times the same field": b"\x0a\x05outer" + b"\x20\x01" * 5_000_000,
}


@pytest.mark.parametrize("what", TOO_MANY)
async def test_a_message_of_too_many_items_is_refused_whole_and_at_once(peer, what):
    messages = [TOO_MANY[what], item("after").SerializeToString()]
    stream = raw(peer.channel, STREAM, "stream_stream")(iter(messages))
    replies = [student_pb2.AnswerStreamResponse.FromString(reply) async for reply in stream]
    by_id = {reply.id: reply for reply in replies}
    assert by_id["outer"].error.code == code_pb2.INVALID_ARGUMENT
    assert by_id["after"].response.answer == "why?"
    assert peer.servicer.asked == 1


async def test_a_full_message_of_items_is_taken(peer):
    full = student_pb2.AnswerStreamRequest(
        id="0", request=asking("0"), more=[item(str(number)) for number in range(1, MOST_ITEMS)]
    )
    replies = {reply.id async for reply in peer.answers.AnswerStream(iter([full]))}
    assert replies == {str(number) for number in range(MOST_ITEMS)}


async def test_a_message_that_is_too_long_quotes_little_of_itself_back(peer):
    refused = await refusal(peer.answers.Answer(asking("long")))
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(refused.details()) < 1000
    assert sum(len(str(key)) + len(value) for key, value in refused.trailing_metadata()) < 8000
    error = from_rpc_error(refused)
    assert isinstance(error, InvalidInput)
    assert len(error.field) < 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_bug_is_internal_and_shows_nothing_of_the_inside(peer, stream, caplog):
    if stream:
        (reply,) = [reply async for reply in peer.answers.AnswerStream(iter([item("1", "bug")]))]
        code, text = reply.error.code, reply.error.message
    else:
        refused = await refusal(peer.answers.Answer(asking("bug"), metadata=((HEADER, "mine-1"),)))
        code, text = refused.code().value[0], refused.details()
        assert dict(refused.trailing_metadata())[HEADER] == "mine-1"
        assert "mine-1" in text
    assert code == code_pb2.INTERNAL
    assert "a secret" not in text
    assert "a secret of the service" in caplog.text


async def test_overload_has_a_pushback_and_an_id(peer):
    refused = await refusal(peer.answers.Answer(asking("full")))
    trailing = dict(refused.trailing_metadata())
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert trailing["grpc-retry-pushback-ms"] == "250"
    assert len(trailing[HEADER]) == 16


async def test_a_reply_has_the_id_of_its_request(peer):
    call = peer.answers.Answer(asking("?"), metadata=((HEADER, "mine-2"),))
    await call
    assert dict(await call.trailing_metadata())[HEADER] == "mine-2"
