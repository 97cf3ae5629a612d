"""Callers with limited patience, over gRPC and plain HTTP: each call has one of four outcomes."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import cycle

import grpc

from benchmarks.processes import Service
from protos.mpa.v1 import student_pb2, student_pb2_grpc, types_pb2, versions_pb2, versions_pb2_grpc

PATIENCE_S = 10.0
CONNECTIONS = 16
ANSWERED, REFUSED, LATE, FAILED = "answered", "refused", "late", "failed"
OUTCOMES = (ANSWERED, REFUSED, LATE, FAILED)
GRPC_OUTCOMES = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: REFUSED,
    grpc.StatusCode.DEADLINE_EXCEEDED: LATE,
}
HTTP_OUTCOMES = {200: ANSWERED, 429: REFUSED, 503: LATE, 504: LATE}
HTTP_HEAD = (
    b"POST %%b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"X-Request-Timeout: %g\r\nContent-Length: %%d\r\n\r\n" % PATIENCE_S
)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
AskOne = Callable[[int], Awaitable[str]]
"""Makes the call of that number and returns its outcome."""
Connect = Callable[[Service, list[bytes]], AbstractAsyncContextManager[AskOne]]
"""Calls that ask about these images."""


@asynccontextmanager
async def ask_grpc(service: Service, images: list[bytes]) -> AsyncIterator[AskOne]:
    async with AsyncExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        opened = [
            grpc.aio.insecure_channel(service.address, options=options) for _ in range(CONNECTIONS)
        ]
        stubs = cycle(
            [
                student_pb2_grpc.StudentServiceStub(await stack.enter_async_context(each))
                for each in opened
            ]
        )

        async def ask(number: int) -> str:
            image = types_pb2.Image(data=images[number % len(images)])
            request = student_pb2.AnswerRequest(image=image, question=f"what is {number}?")
            try:
                await next(stubs).Answer(request, timeout=PATIENCE_S)
            except grpc.aio.AioRpcError as error:
                return GRPC_OUTCOMES.get(error.code(), FAILED)
            return ANSWERED

        yield ask


def vqa_body(image: str, question: str) -> dict[str, object]:
    return {"image": image, "question": question}


def chat_body(image: str, question: str) -> dict[str, object]:
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
        {"type": "text", "text": question},
    ]
    return {"model": "live", "messages": [{"role": "user", "content": content}]}


@asynccontextmanager
async def ask_http(
    path: bytes, body_of: Callable[[str, str], object], service: Service, images: list[bytes]
) -> AsyncIterator[AskOne]:
    """Over plain sockets: a client library would need a core for 200 requests/s."""
    idle: list[Connection] = []

    async def ask(number: int) -> str:
        image = base64.b64encode(images[number % len(images)]).decode()
        body = json.dumps(body_of(image, f"what is {number}?")).encode()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while idle and idle[-1][0].at_eof():
                    idle.pop()[1].close()
                reader, writer = (
                    idle.pop()
                    if idle
                    else await asyncio.open_connection("127.0.0.1", service.http_port)
                )
                writer.write(HTTP_HEAD % (path, len(body)) + body)
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head.lower())
                await reader.readexactly(int(length[1]) if length else 0)
        except TimeoutError:
            writer.close()
            return LATE
        except (OSError, asyncio.IncompleteReadError):
            return FAILED
        if b"connection: close" in head.lower():
            writer.close()
        else:
            idle.append((reader, writer))
        return HTTP_OUTCOMES.get(int(head.split(maxsplit=2)[1]), FAILED)

    yield ask
    for _, writer in idle:
        writer.close()


@asynccontextmanager
async def list_versions(service: Service) -> AsyncIterator[AskOne]:
    """A control call."""
    async with grpc.aio.insecure_channel(service.address) as channel:
        stub = versions_pb2_grpc.VersionServiceStub(channel)

        async def list_once(_: int) -> str:
            try:
                await stub.ListVersions(versions_pb2.ListVersionsRequest(), timeout=PATIENCE_S)
            except grpc.aio.AioRpcError as error:
                return GRPC_OUTCOMES.get(error.code(), FAILED)
            return ANSWERED

        yield list_once


PROTOCOLS: dict[str, Connect] = {
    "grpc": ask_grpc,
    "http": partial(ask_http, b"/v1/vqa", vqa_body),
    "chat": partial(ask_http, b"/v1/chat/completions", chat_body),
}
