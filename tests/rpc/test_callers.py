"""Callers of a server who take too much, send nonsense or nothing, each next to one who must be served."""

import asyncio
import itertools
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.mpa.v1 import student_pb2, student_pb2_grpc, training_pb2, training_pb2_grpc
from services.core.errors import InvalidInput, Overloaded
from services.rpc.interceptors.turnstile import CALL_LIMITS, UPLOADS, WAITS
from services.rpc.messages import MOST_ITEMS
from services.rpc.request_id import HEADER
from services.rpc.server import CallerSettings, GrpcServer
from services.rpc.status import from_rpc_error
from services.rpc.streams import answer_out_of_order
from services.rpc.window import MOST_HELD
from tests.http2 import END_HEADERS, HEADERS, frame, headers, opened_and_reset, speaking_http2
from tests.waiting import until

ANSWER = "/mpa.v1.StudentService/Answer"
STREAM = "/mpa.v1.StudentService/AnswerStream"
UPLOAD = "/mpa.v1.TrainingService/UploadDataset"
SERVICES = ("mpa.v1.StudentService", "mpa.v1.TrainingService", "google.longrunning.Operations")


@dataclass
class Servicer(
    student_pb2_grpc.StudentServiceServicer, training_pb2_grpc.TrainingServiceServicer, operations_pb2_grpc.OperationsServicer
):
    """Repeats its question. Some questions are errors; a wait lasts until `go`."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    async def Answer(self, request, context=None):
        self.asked += 1
        if request.question == "long":
            raise InvalidInput("x" * 2**20, field="y" * 2**20, reason="Z" * 2**20)
        if request.question == "bug":
            raise KeyError("a secret of the service")
        if request.question == "full":
            raise Overloaded("full", retry_after_s=0.25)
        return student_pb2.AnswerResponse(answer=request.question)

    async def AnswerStream(self, requests, context):
        async for reply in answer_out_of_order(requests, self.Answer, student_pb2.AnswerStreamResponse):
            yield reply

    async def UploadDataset(self, requests, context):
        images = 0
        async for request in requests:
            if request.image == b"full":
                raise Overloaded("full", retry_after_s=0.25)
            images += 1
        return training_pb2.UploadDatasetResponse(dataset="d", images=images)

    def end_waits(self):
        self.go.set()

    async def WaitOperation(self, request, context):
        await self.go.wait()
        return operations_pb2.Operation()

    async def GetOperation(self, request, context):
        return operations_pb2.Operation(name=request.name)


@dataclass
class Peer:
    servicer: Servicer
    port: int
    channel: grpc.aio.Channel
    server: GrpcServer | None = None

    def __post_init__(self):
        self.answers = student_pb2_grpc.StudentServiceStub(self.channel)
        self.training = training_pb2_grpc.TrainingServiceStub(self.channel)
        self.operations = operations_pb2_grpc.OperationsStub(self.channel)

    async def is_served(self):
        """A caller of its own connection gets an answer, a control call and a health check."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=options) as channel:
            other = Peer(self.servicer, self.port, channel)
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
            await other.operations.GetOperation(operations_pb2.GetOperationRequest(name="o"), timeout=30)
            return (await other.answers.Answer(asking("well?"), timeout=30)).answer == "well?"


@asynccontextmanager
async def serving(**callers):
    servicer = Servicer()

    def register(server):
        student_pb2_grpc.add_StudentServiceServicer_to_server(servicer, server)
        training_pb2_grpc.add_TrainingServiceServicer_to_server(servicer, server)
        operations_pb2_grpc.add_OperationsServicer_to_server(servicer, server)

    server = GrpcServer(register, SERVICES, CallerSettings(**callers), servicer.end_waits)
    port = await server.start("127.0.0.1", 0)
    await server.set_ready(True)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Peer(servicer, port, channel, server)
    servicer.go.set()
    await server.stop(0)


@pytest.fixture
async def peer():
    async with serving() as peer:
        yield peer


def asking(question):
    return student_pb2.AnswerRequest(question=question)


def item(id_, question="why?"):
    return student_pb2.AnswerStreamRequest(id=id_, request=asking(question))


def raw(channel, method, kind):
    """A call of bytes."""
    return getattr(channel, kind)(method, request_serializer=bytes, response_deserializer=bytes)


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value


async def test_calls_opened_and_reset_cost_no_other_caller_theirs(peer):
    await peer.answers.Answer(asking("connected"))
    block, streams = headers(ANSWER), itertools.count(1, 2)
    async with speaking_http2(peer.port) as one, speaking_http2(peer.port) as two:
        for _ in range(8):
            calls = b"".join(opened_and_reset(stream, block) for stream in itertools.islice(streams, 500))
            for attacker in (one, two):
                await attacker.write(calls)
            assert (await peer.answers.Answer(asking("well?"), timeout=30)).answer == "well?"


@pytest.mark.parametrize("path", [b"/x\xff\xfe", b"/\xed\xa0\x80", b"\x00", b"/"])
async def test_a_method_that_nobody_can_read_is_unknown_and_the_server_lives(peer, path):
    async with speaking_http2(peer.port) as attacker:
        await attacker.write(frame(HEADERS, END_HEADERS, 1, headers(path)))
        assert await peer.is_served()


async def test_a_method_of_another_contract_is_unimplemented(peer):
    for method in ("/mpa.v1.StudentService/Later", "/google.longrunning.Operations/Later", "/nobody/Knows"):
        refused = await refusal(raw(peer.channel, method, "unary_unary")(b""))
        assert refused.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("what", ["uploads", "waits"])
async def test_open_calls_of_one_kind_leave_the_others_their_room(peer, what):
    limits, calls = CALL_LIMITS[{"uploads": UPLOADS, "waits": WAITS}[what]], []
    for _ in range(limits.per_connection + 10):
        if what == "uploads":
            call = peer.training.UploadDataset()
            calls.append(call.read() if hasattr(call, "read") else call)
        else:
            calls.append(peer.operations.WaitOperation(operations_pb2.WaitOperationRequest()))
    outcomes = Counter()

    async def refused(call):
        outcomes[(await refusal(call)).code()] += 1

    tasks = [asyncio.ensure_future(refused(call)) for call in calls]
    await until(lambda: outcomes[grpc.StatusCode.RESOURCE_EXHAUSTED] == 10)
    assert await peer.is_served()
    for task in tasks:
        task.cancel()


async def test_an_upload_that_is_refused_while_it_is_sent_is_told_why(peer):
    """Not "Internal error from Core", which gRPC says to a caller that is still sending when its call ends."""
    images = [training_pb2.UploadDatasetRequest(image=image) for image in (b"full", *[bytes(2**20)] * 40)]
    for _ in range(5):
        refused = await refusal(peer.training.UploadDataset(iter(images)))
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_upload_that_falls_silent_is_ended_and_told_why():
    async with serving(silence_s=0.2) as peer:
        upload = peer.training.UploadDataset()
        await upload.write(training_pb2.UploadDatasetRequest(image=b"x"))
        refused = await refusal(upload)
        assert refused.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "nothing came for 0.2 s" in refused.details()
        assert from_rpc_error(refused).reason == "SILENCE"


async def test_an_idle_stream_is_ended_in_order():
    async with serving(silence_s=0.2) as peer:
        stream = peer.answers.AnswerStream()
        await stream.write(item("1"))
        assert (await stream.read()).id == "1"
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK


async def test_a_stream_that_is_written_and_never_read_is_held_back(peer):
    stream = peer.answers.AnswerStream()
    written = 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5.0):
            while written < 100 * MOST_HELD:
                await stream.write(item(str(written), "why? " * 2_000))
                written += 1
    assert peer.servicer.asked <= 8 * MOST_HELD
    assert await peer.is_served()
    stream.cancel()


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


def nested():
    inner = student_pb2.AnswerStreamRequest(id="inner", more=[item("innermost")])
    return student_pb2.AnswerStreamRequest(id="outer", more=[inner]).SerializeToString()


TOO_MANY = {
    "one item too many": student_pb2.AnswerStreamRequest(id="outer", more=[item("x")] * MOST_ITEMS).SerializeToString(),
    "five million empty items": b"\x0a\x05outer" + b"\x1a\x00" * 5_000_000,
    "items within an item": nested(),
    "five million empty items within an item": b"\x0a\x05outer\x1a" + b"\x80\xad\xe2\x04" + b"\x1a\x00" * 5_000_000,
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
    assert len(from_rpc_error(refused).field) < 200


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
