"""The scripted teacher and student as services on loopback ports, with counted calls and errors."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from google.longrunning import operations_pb2_grpc
from grpc_status import rpc_status

from protos.mpa.v1 import student_pb2_grpc, teacher_pb2_grpc, training_pb2_grpc, versions_pb2_grpc
from services.core.errors import ImageUnknown, MpaError, Overloaded, Unavailable
from services.rpc.status import to_status
from services.rpc.streams import answer_out_of_order

Trouble = Callable[[str], MpaError | None]


def gone_after(calls: int) -> Trouble:
    """Answers that many calls, of whatever kind, and no more."""
    asked = Counter()

    def trouble(kind):
        asked[kind] += 1
        return Unavailable("gone") if asked.total() > calls else None

    return trouble


@dataclass
class Service:
    """Common parts of both. `calls` counts finished ones by kind, `sent` images that came as bytes.

    `room`: calls that it takes at once; `refused` counts calls beyond.
    """

    room: int = 10**9
    refused: int = 0
    delay_s: float = 0.0
    trouble: Trouble = lambda _: None
    forgets: bool = False
    calls: Counter = field(default_factory=Counter)
    keys: Counter = field(default_factory=Counter)
    sent: Counter = field(default_factory=Counter)
    most_at_once: int = 0
    _at_once: int = 0

    async def begin(self, kind: str, image, context) -> str:
        """The image's sha256, after the delay; aborts with any scripted trouble."""
        if self._at_once >= self.room:
            self.refused += 1
            await abort(context, Overloaded("full", retry_after_s=0.02))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(self.delay_s)
            if trouble := self.trouble(kind):
                await abort(context, trouble)
            if image.data:
                sha256 = hashlib.sha256(image.data).hexdigest()
                self.sent[sha256] += 1
                return sha256
            if self.forgets or image.sha256 not in self.sent:
                await abort(context, ImageUnknown("send it again"))
            return image.sha256
        finally:
            self._at_once -= 1


async def abort(context, error: MpaError):
    if context is None:  # an item of a stream
        raise error
    await context.abort_with_status(rpc_status.to_status(to_status(error)))


def in_bulk(method, response_type):
    """The bidirectional stream of a unary method."""

    async def stream(self, requests, context):
        async def answer(request):
            return await method(self, request, None)

        async for reply in answer_out_of_order(requests, answer, response_type):
            yield reply

    return stream


@asynccontextmanager
async def serving(service, port: int = 0):
    """Address of the service."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    if isinstance(service, teacher_pb2_grpc.TeacherServiceServicer):
        teacher_pb2_grpc.add_TeacherServiceServicer_to_server(service, server)
    else:
        student_pb2_grpc.add_StudentServiceServicer_to_server(service, server)
        versions_pb2_grpc.add_VersionServiceServicer_to_server(service, server)
        training_pb2_grpc.add_TrainingServiceServicer_to_server(service, server)
        operations_pb2_grpc.add_OperationsServicer_to_server(service, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        await server.stop(None)
