"""Clients of the student, as thin as applications write them."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import grpc
import httpx
from openai import AsyncOpenAI

from benchmarks.questions import Asked
from protos.mpa.v1 import student_pb2, student_pb2_grpc, types_pb2
from services.core.decoding import Decoding
from services.rpc.limits import MESSAGE_OPTIONS
from services.rpc.wire import decoding_to_proto

TIMEOUT_S = 120.0

Ask = Callable[[Asked], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Crowd:
    """Requests of several clients: seconds in all, and of each request."""

    seconds: float
    each: Sequence[float]

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.each) / self.seconds


def _question(one: Asked) -> str:
    return one.question


def prompt(one: Asked) -> str:
    """The question in the template that our service has in the version's contract."""
    return one.prompt


def connect(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=MESSAGE_OPTIONS)


async def stream(
    channel: grpc.aio.Channel, asked: Sequence[Asked], decoding: Decoding
) -> tuple[float, list[str]]:
    """Seconds, and the answers in the order of `asked`; an image is sent once, then its hash.

    Raises RuntimeError: a request failed.
    """
    sent: set[str] = set()
    wanted = decoding_to_proto(decoding)

    async def requests() -> AsyncIterator[student_pb2.AnswerStreamRequest]:
        for number, one in enumerate(asked):
            image = (
                types_pb2.Image(sha256=one.sha256)
                if one.sha256 in sent
                else types_pb2.Image(data=one.data)
            )
            sent.add(one.sha256)
            request = student_pb2.AnswerRequest(image=image, question=one.question, decoding=wanted)
            yield student_pb2.AnswerStreamRequest(id=str(number), request=request)

    answers = [""] * len(asked)
    began = time.perf_counter()
    async for response in student_pb2_grpc.StudentServiceStub(channel).AnswerStream(requests()):
        if response.HasField("error"):
            raise RuntimeError(response.error.message)
        answers[int(response.id)] = response.response.answer
    return time.perf_counter() - began, answers


def unary(channel: grpc.aio.Channel, decoding: Decoding) -> Ask:
    """gRPC Answer, with the image's bytes in every request."""
    stub = student_pb2_grpc.StudentServiceStub(channel)
    wanted = decoding_to_proto(decoding)

    async def ask(one: Asked) -> str:
        image = types_pb2.Image(data=one.data)
        reply = await stub.Answer(
            student_pb2.AnswerRequest(image=image, question=one.question, decoding=wanted)
        )
        return str(reply.answer)

    return ask


def http(client: httpx.AsyncClient, url: str) -> Ask:
    """POST /v1/vqa with a base64 image, in the version's own decoding."""

    async def ask(one: Asked) -> str:
        body = {"image": base64.b64encode(one.data).decode(), "question": one.question}
        reply = await client.post(f"{url}/v1/vqa", json=body)
        reply.raise_for_status()
        return str(reply.json()["answer"])

    return ask


def chat(
    client: AsyncOpenAI, model: str, max_tokens: int, text: Callable[[Asked], str] = _question
) -> Ask:
    """OpenAI's own client, with the image as a data URL. `text`: the text that is sent with it."""

    async def ask(one: Asked) -> str:
        image = f"data:image/png;base64,{base64.b64encode(one.data).decode()}"
        reply = await client.chat.completions.create(
            model=model,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": image}},
                        {"type": "text", "text": text(one)},
                    ],
                }
            ],
            temperature=0.0,
            max_tokens=max_tokens,
        )
        return (reply.choices[0].message.content or "").strip()

    return ask


def openai_client(url: str, key: str = "none") -> AsyncOpenAI:
    """OpenAI's client as applications make it, but it repeats nothing."""
    return AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=TIMEOUT_S)


async def one_by_one(ask: Ask, asked: Sequence[Asked]) -> list[float]:
    """Seconds of each request, one at a time."""
    seconds = []
    for one in asked:
        began = time.perf_counter()
        await ask(one)
        seconds.append(time.perf_counter() - began)
    return seconds


async def side_by_side(ask: Ask, asked: Sequence[Asked], clients: int) -> Crowd:
    """Each of the clients sends its next request after its last reply."""
    left = iter(asked)
    each = []

    async def client() -> None:
        for one in left:
            each.extend(await one_by_one(ask, [one]))

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return Crowd(time.perf_counter() - began, each)
