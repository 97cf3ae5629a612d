"""One request and its outcome: a gRPC status or an HTTP code, with its message."""

import asyncio
from dataclasses import dataclass

import grpc
import httpx
from google.longrunning import operations_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from protos.mpa.v1 import student_pb2, teacher_pb2, training_pb2, versions_pb2
from tests.attacks.target import PATIENCE_S

MOST_SAID = 4_000
"""Most characters of a refusal, which names the wrong value but quotes no megabyte of it."""
HANGS = "HANGS"
CUT_OFF = "Internal error from Core"
"""grpc.aio's own words, without the service's, if a stream is refused while it sends.

A fault of that client (grpc/grpc issue 36066): the failed write hides the refusal, now and then.
"""


def methods_of(*files):
    """Methods of the services in modules of protobuf, by name."""
    return {
        f"/{service.full_name}/{method.name}": method
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


METHODS = methods_of(student_pb2, versions_pb2, training_pb2, operations_pb2, teacher_pb2)
FURTHER = methods_of(health_pb2, reflection_pb2)
STUDENT_METHODS = {name: method for name, method in METHODS.items() if "TeacherService" not in name}
TEACHER_METHODS = {name: method for name, method in METHODS.items() if "TeacherService" in name}
ANSWER = "/mpa.v1.StudentService/Answer"
ANSWER_STREAM = "/mpa.v1.StudentService/AnswerStream"
UPLOAD = "/mpa.v1.TrainingService/UploadDataset"
TRAIN = "/mpa.v1.TrainingService/Train"


@dataclass(frozen=True)
class Outcome:
    """Result of a request. `status`: "OK", "INVALID_ARGUMENT", "200", "400" ... or HANGS.

    `replies`: messages of gRPC, or the response of HTTP.
    """

    status: str
    said: str = ""
    replies: tuple = ()

    @property
    def reply(self):
        return self.replies[0]


def method_of(channel, name):
    """A method that accepts messages and arbitrary bytes."""
    method = {**METHODS, **FURTHER}[name]
    kinds = {
        (False, False): channel.unary_unary,
        (True, False): channel.stream_unary,
        (False, True): channel.unary_stream,
        (True, True): channel.stream_stream,
    }
    return kinds[method.client_streaming, method.server_streaming](
        name,
        request_serializer=as_bytes,
        response_deserializer=method.output_type._concrete_class.FromString,
    )


def as_bytes(request):
    return request if isinstance(request, bytes) else request.SerializeToString()


async def call(channel, name, *requests, timeout_s=PATIENCE_S, metadata=()):
    """Outcome of a call. A stream sends all requests and reads all replies."""
    method = {**METHODS, **FURTHER}[name]
    given = iter(requests) if method.client_streaming else requests[0]
    replies = []
    try:
        under_way = method_of(channel, name)(given, timeout=timeout_s, metadata=metadata)
        if method.server_streaming:
            async for reply in under_way:
                replies.append(reply)
        else:
            replies.append(await under_way)
    except grpc.aio.AioRpcError as error:
        is_late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return Outcome(
            HANGS if is_late else error.code().name, error.details() or "", tuple(replies)
        )
    return _of_items(replies)


def _of_items(replies):
    """OK, or the status of the first item if all items of the stream failed."""
    items = [item for reply in replies if hasattr(reply, "more") for item in (reply, *reply.more)]
    if not items or any(item.HasField("response") for item in items):
        return Outcome("OK", replies=tuple(replies))
    first = items[0].error
    return Outcome(
        next(code.name for code in grpc.StatusCode if code.value[0] == first.code),
        first.message,
        tuple(replies),
    )


async def call_once(address, name, *requests, timeout_s=PATIENCE_S, metadata=()):
    """Outcome of a call on a separate connection; again, while grpc.aio hides what it was."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", 64 * 2**20)]
    for _ in range(10):
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            outcome = await call(channel, name, *requests, timeout_s=timeout_s, metadata=metadata)
        if outcome.said != CUT_OFF:
            break
    return outcome


async def request(url, method="POST", path="/v1/vqa", **sent):
    """Outcome of a complete HTTP request by httpx."""
    try:
        async with httpx.AsyncClient(timeout=PATIENCE_S, verify=False) as client:
            response = await client.request(method, url + path, **sent)
    except httpx.TimeoutException:
        return Outcome(HANGS)
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
        return Outcome("CLOSED", repr(error))
    return Outcome(str(response.status_code), response.text, (response,))


async def raw(port, *pieces, pause_s=0.0, timeout_s=PATIENCE_S):
    """Outcome of raw bytes on a separate connection: the first status, or CLOSED without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(timeout_s):
            try:
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause_s)
                line = await reader.readline()
            except ConnectionError:
                line = b""
    except TimeoutError:
        return Outcome(HANGS)
    finally:
        writer.close()
    return Outcome(
        line.split()[1].decode() if line.startswith(b"HTTP/") else "CLOSED",
        line.decode(errors="replace"),
    )
