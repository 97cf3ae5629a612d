"""A gRPC server with every kind of call, and its callers."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.mpa.v1 import student_pb2, student_pb2_grpc, training_pb2, training_pb2_grpc
from services.core.errors import InvalidInput, Overloaded
from services.rpc.server import CallerSettings, GrpcServer
from services.rpc.streams import answer_out_of_order

ANSWER = "/mpa.v1.StudentService/Answer"
STREAM = "/mpa.v1.StudentService/AnswerStream"
UPLOAD = "/mpa.v1.TrainingService/UploadDataset"
SERVICES = ("mpa.v1.StudentService", "mpa.v1.TrainingService", "google.longrunning.Operations")


@dataclass
class Servicer(
    student_pb2_grpc.StudentServiceServicer,
    training_pb2_grpc.TrainingServiceServicer,
    operations_pb2_grpc.OperationsServicer,
):
    """Repeats its question. Some questions raise errors; a wait lasts until `go`."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    images: int = 0

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
        async for reply in answer_out_of_order(
            requests, self.Answer, student_pb2.AnswerStreamResponse
        ):
            yield reply

    async def UploadDataset(self, requests, context):
        images = 0
        async for request in requests:
            if request.image == b"full":
                raise Overloaded("full", retry_after_s=0.25)
            images += 1
            self.images += 1
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
        """Whether a caller on a separate connection gets an answer, control and health calls."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=options) as channel:
            other = Peer(self.servicer, self.port, channel)
            await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=30
            )
            await other.operations.GetOperation(
                operations_pb2.GetOperationRequest(name="o"), timeout=30
            )
            return (await other.answers.Answer(asking("well?"), timeout=30)).answer == "well?"


@asynccontextmanager
async def serving(access=None, connect=grpc.aio.insecure_channel, **callers):
    servicer = Servicer()

    def register(server):
        student_pb2_grpc.add_StudentServiceServicer_to_server(servicer, server)
        training_pb2_grpc.add_TrainingServiceServicer_to_server(servicer, server)
        operations_pb2_grpc.add_OperationsServicer_to_server(servicer, server)

    server = GrpcServer(
        register, SERVICES, CallerSettings(**callers), servicer.end_waits, access=access
    )
    port = await server.start("127.0.0.1", 0)
    await server.set_ready(True)
    async with connect(f"127.0.0.1:{port}") as channel:
        yield Peer(servicer, port, channel, server)
    servicer.go.set()
    await server.stop(0)


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
