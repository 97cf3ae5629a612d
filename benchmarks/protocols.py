"""The student's protocols as clients write them who repeat nothing: each lost answer raises."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import openai

from benchmarks.processes import Service
from benchmarks.questions import Asked
from benchmarks.traffic import Answered, AskOne, request_of
from protos.mpa.v1 import student_pb2, student_pb2_grpc
from services.rpc.client import Picture, StudentClient
from services.rpc.limits import MESSAGE_OPTIONS

TIMEOUT_S = 60.0
OWN_CONNECTION = (*MESSAGE_OPTIONS, ("grpc.use_local_subchannel_pool", 1))


@dataclass(frozen=True, slots=True)
class Read:
    """An answer as it was read from a reply."""

    answer: str
    version: str


Connect = Callable[[Service], AbstractAsyncContextManager[AskOne]]


@asynccontextmanager
async def unary(service: Service) -> AsyncIterator[AskOne]:
    async with grpc.aio.insecure_channel(service.address, options=OWN_CONNECTION) as channel:
        stub = student_pb2_grpc.StudentServiceStub(channel)

        async def ask(one: Asked) -> Answered:
            reply: student_pb2.AnswerResponse = await stub.Answer(
                request_of(one), timeout=TIMEOUT_S
            )
            return reply

        yield ask


@asynccontextmanager
async def stream(service: Service) -> AsyncIterator[AskOne]:
    """AnswerStream, for one question each: a longer one would have to be opened again."""
    async with grpc.aio.insecure_channel(service.address, options=OWN_CONNECTION) as channel:
        stub = student_pb2_grpc.StudentServiceStub(channel)

        async def ask(one: Asked) -> Answered:
            item = student_pb2.AnswerStreamRequest(id="1", request=request_of(one))
            replies = [reply async for reply in stub.AnswerStream(iter([item]), timeout=TIMEOUT_S)]
            if [reply.id for reply in replies] != ["1"] or replies[0].HasField("error"):
                raise RuntimeError(f"the stream brought {replies}, not one answer")
            answered: student_pb2.AnswerResponse = replies[0].response
            return answered

        yield ask


@asynccontextmanager
async def own_client(service: Service) -> AsyncIterator[AskOne]:
    """The platform's own client: long streams. It sends again what they leave unanswered."""
    async with StudentClient(service.address) as client:

        async def ask(one: Asked) -> Answered:
            return await client.answer(Picture.of(one.data), one.question)

        yield ask


@asynccontextmanager
async def vqa(service: Service) -> AsyncIterator[AskOne]:
    async with httpx.AsyncClient(base_url=service.url, timeout=TIMEOUT_S, verify=False) as client:

        async def ask(one: Asked) -> Answered:
            body = {"image": base64.b64encode(one.data).decode(), "question": one.question}
            reply = await client.post("/v1/vqa", json=body)
            if reply.status_code != httpx.codes.OK:
                raise RuntimeError(f"{reply.status_code}: {reply.text}")
            read = reply.json()
            return Read(read["answer"], read["version"])

        yield ask


def _messages(one: Asked) -> Any:
    url = f"data:image/png;base64,{base64.b64encode(one.data).decode()}"
    image = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [image, {"type": "text", "text": one.question}]}]


@asynccontextmanager
async def chat(service: Service) -> AsyncIterator[AskOne]:
    """The openai client, without its retries."""
    async with _openai(service) as client:

        async def ask(one: Asked) -> Answered:
            reply = await client.chat.completions.create(model="live", messages=_messages(one))
            return Read(reply.choices[0].message.content or "", reply.model)

        yield ask


@asynccontextmanager
async def chat_stream(service: Service) -> AsyncIterator[AskOne]:
    """The same by server-sent events; a stream without its end is lost."""
    async with _openai(service) as client:

        async def ask(one: Asked) -> Answered:
            text, version, finished = "", "", None
            async for chunk in await client.chat.completions.create(
                model="live", messages=_messages(one), stream=True
            ):
                if version not in ("", chunk.model):
                    raise RuntimeError(f"a stream of {version} went on as {chunk.model}")
                version = chunk.model
                text += chunk.choices[0].delta.content or ""
                finished = chunk.choices[0].finish_reason
            if finished is None:
                raise RuntimeError("the events ended before the answer did")
            return Read(text, version)

        yield ask


def _openai(service: Service) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{service.url}/v1", api_key="none", max_retries=0, timeout=TIMEOUT_S
    )


PROTOCOLS: dict[str, Connect] = {
    "gRPC Answer": unary,
    "gRPC AnswerStream": stream,
    "mpa client": own_client,
    "HTTP /v1/vqa": vqa,
    "openai client": chat,
    "openai client, stream": chat_stream,
}
