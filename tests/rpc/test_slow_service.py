"""A bulk client of a service that sheds load: it adapts to the pace and gets every answer."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from protos.mpa.v1 import student_pb2, student_pb2_grpc
from services.core.errors import Overloaded
from services.rpc.client.replies import Picture
from services.rpc.client.student import StudentClient
from services.rpc.load_shedding import LoadSettings, LoadShedder
from services.rpc.server import GrpcServer
from services.rpc.streams import answer_out_of_order
from tests.pictures import png


@dataclass
class OneByOne(student_pb2_grpc.StudentServiceServicer):
    """Answers like an engine that computes one request at a time, on a simulated clock."""

    seconds: float
    settings: LoadSettings
    now: float = 0.0
    refused: int = 0
    answered: int = 0
    engine: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self):
        self.shedder = LoadShedder(self.settings, clock=lambda: self.now)

    async def Answer(self, request, context=None):
        try:
            with self.shedder.admit():
                async with self.engine:
                    await asyncio.sleep(0)
                    self.now += self.seconds
                    self.answered += 1
                    return student_pb2.AnswerResponse(answer=request.question)
        except Overloaded:
            self.refused += 1
            raise

    async def AnswerStream(self, requests, context):
        async for reply in answer_out_of_order(
            requests, self.Answer, student_pb2.AnswerStreamResponse
        ):
            yield reply


@asynccontextmanager
async def serving(servicer):
    server = GrpcServer(
        lambda into: student_pb2_grpc.add_StudentServiceServicer_to_server(servicer, into), []
    )
    port = await server.start("127.0.0.1", 0)
    await server.set_ready(True)
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def test_a_slow_service_answers_all_that_is_asked_in_bulk_once():
    servicer = OneByOne(0.01, LoadSettings(longest_wait_s=0.25))
    picture, texts = Picture("0" * 64, png()), [f"question {number}" for number in range(1_000)]
    async with serving(servicer) as address, StudentClient(address, patience_s=30.0) as client:
        replies = await asyncio.gather(*(client.answer(picture, text) for text in texts))
        limit = client.connection.concurrency.limit
    assert [reply.answer for reply in replies] == texts
    assert servicer.answered == len(texts)
    assert 0 < servicer.refused < len(texts)
    assert 16 <= limit <= 256, "as many at a time as the service takes"
