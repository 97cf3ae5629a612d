"""Client side of a stream, over real gRPC."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import pytest

from protos.mpa.v1 import student_pb2, student_pb2_grpc
from services.core.errors import InvalidInput, Overloaded, Unavailable
from services.rpc.bulk import ITEMS_PER_STREAM, OUT_OF_TIME, Bulk
from services.rpc.messages import apart
from services.rpc.server import GrpcServer
from services.rpc.streams import answer_out_of_order
from tests.waiting import until

GRACE_S = 3_600.0
GUARD_S = 60.0


@dataclass
class Answerer(student_pb2_grpc.StudentServiceServicer):
    """Repeats its question. "wait" waits for `go`, "refuse" and "full" are errors.

    "break" ends the whole stream.
    """

    go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list = field(default_factory=list)
    messages: list = field(default_factory=list)
    cancelled: int = 0
    streams: int = 0

    async def AnswerStream(self, requests, context):
        self.streams += 1

        async def answer(request):
            question = request.question
            self.asked.append(question)
            if question.startswith("wait"):
                try:
                    await self.go.wait()
                except asyncio.CancelledError:
                    self.cancelled += 1
                    raise
            if question == "refuse":
                raise InvalidInput("not this")
            if question == "full":
                raise Overloaded("full", retry_after_s=0.25)
            if question == "break":
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
            return student_pb2.AnswerResponse(answer=question)

        async def counted():
            async for message in requests:
                self.messages.append(len(apart(message)))
                yield message

        async for reply in answer_out_of_order(counted(), answer, student_pb2.AnswerStreamResponse):
            yield reply


class OlderAnswerer(student_pb2_grpc.StudentServiceServicer):
    """A service of an older contract: one item per message."""

    async def AnswerStream(self, requests, context):
        async for item in requests:
            yield student_pb2.AnswerStreamResponse(
                id=item.id, response=student_pb2.AnswerResponse(answer=item.request.question)
            )


@asynccontextmanager
async def serving(servicer, end_waits=lambda: None):
    server = GrpcServer(
        lambda into: student_pb2_grpc.add_StudentServiceServicer_to_server(servicer, into),
        [],
        end_waits=end_waits,
    )
    port = await server.start("127.0.0.1", 0)
    await server.set_ready(True)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield servicer, server, student_pb2_grpc.StudentServiceStub(channel)
    await server.stop(0)


@asynccontextmanager
async def answering(timeout_s=30.0, servicer=None, end_waits=lambda: None):
    async with serving(servicer or Answerer(), end_waits) as (servicer, server, stub):
        bulk = Bulk(stub.AnswerStream, student_pb2.AnswerStreamRequest, timeout_s, "the service")
        yield servicer, server, bulk
        await bulk.close()


def question(text):
    return student_pb2.AnswerRequest(question=text)


async def test_each_call_has_its_own_answer_and_its_own_error():
    async with answering() as (servicer, _, bulk):
        texts = [f"q{number}" for number in range(200)]
        waiting = asyncio.create_task(bulk.ask(question("wait")))
        answers = await asyncio.gather(*(bulk.ask(question(text)) for text in texts))
        assert [reply.answer for reply in answers] == texts
        with pytest.raises(InvalidInput, match="not this"):
            await bulk.ask(question("refuse"))
        with pytest.raises(Overloaded) as full:
            await bulk.ask(question("full"))
        assert full.value.retry_after_s == 0.25
        servicer.go.set()
        assert (await waiting).answer == "wait"


async def test_there_are_as_many_streams_as_the_calls_under_way_need():
    async with answering() as (servicer, _, bulk):
        for number in range(100):
            await bulk.ask(question(str(number)))
        assert servicer.streams == 1
        await asyncio.gather(
            *(bulk.ask(question(str(number))) for number in range(3 * ITEMS_PER_STREAM))
        )
        assert servicer.streams == 3


async def test_what_is_asked_at_the_same_time_shares_a_message():
    async with answering() as (servicer, _, bulk):
        await bulk.ask(question("first"))  # the reply sets takes_more
        texts = [str(number) for number in range(ITEMS_PER_STREAM)]
        answers = await asyncio.gather(*(bulk.ask(question(text)) for text in texts))
        assert [reply.answer for reply in answers] == texts
        assert servicer.messages == [1, ITEMS_PER_STREAM]


async def test_a_service_that_has_not_said_that_it_takes_more_gets_them_one_by_one():
    async with answering(servicer=OlderAnswerer()) as (_, _, bulk):
        for _ in range(2):
            texts = [str(number) for number in range(2 * ITEMS_PER_STREAM)]
            answers = await asyncio.gather(*(bulk.ask(question(text)) for text in texts))
            assert [reply.answer for reply in answers] == texts


@pytest.mark.parametrize("takes_more", [True, False])
async def test_replies_share_a_message_where_the_client_takes_it(takes_more):
    texts = ["wait 1", "wait 2", "wait 3"]
    async with serving(Answerer()) as (servicer, _, stub):
        call = stub.AnswerStream()
        for text in texts:
            await call.write(
                student_pb2.AnswerStreamRequest(
                    id=text, request=question(text), takes_more=takes_more
                )
            )
        await until(lambda: servicer.asked == texts)
        servicer.go.set()
        await call.done_writing()
        messages = [[each.id for each in apart(message)] async for message in call]
        assert messages == ([texts] if takes_more else [[text] for text in texts])


async def test_a_call_that_is_given_up_is_cancelled_at_the_service_and_the_others_go_on():
    async with answering() as (servicer, _, bulk):
        given_up, other = (asyncio.create_task(bulk.ask(question("wait"))) for _ in range(2))
        await until(lambda: len(servicer.asked) >= 2)
        given_up.cancel()
        await until(lambda: servicer.cancelled)
        servicer.go.set()
        assert (await other).answer == "wait"
        assert servicer.cancelled == 1
        assert servicer.streams == 1


async def test_a_call_that_is_cancelled_as_it_is_answered_keeps_its_answer():
    kept = []

    async def ask(bulk):
        kept.append((await bulk.ask(question("wait"))).answer)
        await asyncio.sleep(30)
        kept.append("went on")

    async with answering() as (servicer, _, bulk):
        asking = asyncio.create_task(ask(bulk))
        await until(lambda: servicer.asked)
        asking.cancel()
        servicer.go.set()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert kept == ["wait"]


async def test_a_call_that_is_not_answered_in_time_ends_alone():
    async with answering(timeout_s=1.0) as (servicer, _, bulk):
        with pytest.raises(Unavailable, match="did not answer in time") as late:
            await bulk.ask(question("wait"))
        assert late.value.reason == OUT_OF_TIME
        assert (await bulk.ask(question("quick"))).answer == "quick"
        assert servicer.streams == 1
        await until(lambda: servicer.cancelled)


async def test_a_stream_that_breaks_fails_its_unanswered_calls_and_the_next_call_opens_another():
    async with answering() as (servicer, _, bulk):
        assert (await bulk.ask(question("first"))).answer == "first"
        outcomes = await asyncio.gather(
            *(bulk.ask(question(text)) for text in ("wait", "wait", "break")),
            return_exceptions=True,
        )
        assert [str(outcome) for outcome in outcomes] == [
            "no service answers at the service: broken"
        ] * 3
        assert (await bulk.ask(question("after"))).answer == "after"
        assert servicer.streams == 2
        assert servicer.asked.count("first") == 1


async def test_a_service_that_leaves_answers_what_it_has_read_and_ends_the_stream():
    leaving = asyncio.Event()
    async with answering(end_waits=leaving.set) as (servicer, server, bulk):
        waiting = asyncio.create_task(bulk.ask(question("wait")))
        await until(lambda: servicer.asked)
        stopping = asyncio.create_task(server.stop(GRACE_S))
        await leaving.wait()
        servicer.go.set()
        assert (await waiting).answer == "wait"
        async with asyncio.timeout(GUARD_S):  # an open stream would take the whole grace
            await stopping
        with pytest.raises(Unavailable):
            await bulk.ask(question("late"))
