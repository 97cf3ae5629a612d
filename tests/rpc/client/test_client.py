"""Clients over real gRPC: images are sent once, and a closed client refuses calls."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from protos.mpa.v1 import student_pb2, student_pb2_grpc
from services.core.errors import ImageUnknown, WrongState
from services.rpc.client import Picture, StudentClient
from services.rpc.server import GrpcServer
from services.rpc.streams import answer_out_of_order

PICTURE = Picture("0" * 64, b"an image")


@dataclass
class Remembering(student_pb2_grpc.StudentServiceServicer):
    """Answers questions about images that it has received, and notes how each image came."""

    known: set = field(default_factory=set)
    sources: list = field(default_factory=list)

    async def Answer(self, request, context=None):
        self.sources.append(request.image.WhichOneof("source"))
        if self.sources[-1] == "data":
            self.known.add(PICTURE.sha256)
        elif request.image.sha256 not in self.known:
            raise ImageUnknown("send the bytes")
        return student_pb2.AnswerResponse(answer=request.question, version="v1")

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


@pytest.mark.parametrize("retry", [True, False])
async def test_an_image_is_sent_once_and_again_if_it_is_forgotten(retry):
    servicer = Remembering()
    async with serving(servicer) as address, StudentClient(address) as student:
        for _ in range(3):
            assert (await student.answer(PICTURE, "why?", retry=retry)).answer == "why?"
        assert servicer.sources == ["data", "sha256", "sha256"]
        servicer.known.clear()
        assert (await student.answer(PICTURE, "why?", retry=retry)).answer == "why?"
        assert servicer.sources[3:] == ["sha256", "data"]


CALLS = {
    "ready": lambda client: client.ready(),
    "pointers": lambda client: client.pointers(),
    "answer": lambda client: client.answer(PICTURE, "why?"),
    "check": lambda client: client.answer(PICTURE, "why?", retry=False),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("is_used", [True, False])
async def test_a_closed_client_refuses_calls(name, is_used):
    """grpcio may crash the process if a call is the first of its kind."""
    async with serving(Remembering()) as address:
        async with StudentClient(address) as student:
            if is_used:
                await student.ready()
                await student.answer(PICTURE, "why?")
        with pytest.raises(WrongState, match=f"the student at {address} is closed: open another"):
            await CALLS[name](student)
