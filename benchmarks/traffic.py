"""Clients that ask all the time, and check each answer against the version it names."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import grpc

from benchmarks.questions import Asked
from protos.mpa.v1 import student_pb2, student_pb2_grpc, types_pb2, versions_pb2, versions_pb2_grpc

CLIENTS = 16
LOAD_TIMEOUT_S = 300.0
PAUSE_S = 0.1
"""Seconds until a client that got no answer asks its next question."""

Expected = Mapping[str, Mapping[Asked, str]]
"""Answers by question by version."""


class Answered(Protocol):
    """An answer and the version that gave it."""

    @property
    def answer(self) -> str: ...

    @property
    def version(self) -> str: ...


AskOne = Callable[[Asked], Awaitable[Answered]]


@dataclass(slots=True)
class Tally:
    """Outcomes of the requests.

    `mixed`: the answer of another version than the reply names; `other`: the answer of no version;
    `stale`: a right answer of a version that was not live at any time of the request.
    """

    seconds: list[float] = field(default_factory=list)
    lost: int = 0
    mixed: int = 0
    other: int = 0
    stale: int = 0
    by_version: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


def request_of(one: Asked, version: str = "") -> student_pb2.AnswerRequest:
    image = types_pb2.Image(data=one.data)
    return student_pb2.AnswerRequest(image=image, question=one.question, version=version)


class Student:
    """The student's answers and versions over one channel.

    `live`: the version whose promotion was answered last; "" while another one is promoted.
    `promotions`: their number.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.live = ""
        self.promotions = 0
        self._answers = student_pb2_grpc.StudentServiceStub(channel)
        self._versions = versions_pb2_grpc.VersionServiceStub(channel)

    async def answer(self, one: Asked, version: str = "") -> Answered:
        response: Answered = await self._answers.Answer(request_of(one, version))
        return response

    async def promote(self, version: str) -> str:
        """Promotes a version and returns the way it was swapped in."""
        self.live = ""
        self.promotions += 1
        request = versions_pb2.PromoteVersionRequest(name=version)
        reply = await self._versions.PromoteVersion(request, timeout=LOAD_TIMEOUT_S)
        self.live = version
        return str(versions_pb2.SwapWay.Name(reply.swap_way)).removeprefix("SWAP_WAY_").lower()

    async def expected(self, asked: Sequence[Asked], versions: Sequence[str]) -> Expected:
        """Answers to the questions that the versions answer differently, each version live in turn.

        Each is asked twice, alone and among sixteen, without other traffic: a borderline greedy
        answer may depend on its batch and would say nothing about versions. `versions[0]` is live
        in the end.
        """
        found: dict[str, dict[Asked, str]] = {}
        for version in (*versions[1:], versions[0]):
            await self.promote(version)
            alone = [(await self.answer(one)).answer for one in asked]
            together = [
                reply.answer for reply in await asyncio.gather(*(self.answer(one) for one in asked))
            ]
            found[version] = {
                one: a for one, a, b in zip(asked, alone, together, strict=True) if a == b
            }
        steady = set.intersection(*(set(answers) for answers in found.values()))
        telling = {
            one
            for one in steady
            if len({answers[one] for answers in found.values()}) == len(versions)
        }
        return {
            version: {one: answers[one] for one in asked if one in telling}
            for version, answers in found.items()
        }


@asynccontextmanager
async def traffic(
    student: Student, expected: Expected, clients: int = CLIENTS
) -> AsyncIterator[Tally]:
    """Runs clients of one channel until the block ends, then waits for their last replies."""
    tally = Tally()
    async with asking(student, expected, [(student.answer, tally)] * clients):
        yield tally


@asynccontextmanager
async def asking(
    student: Student,
    expected: Expected,
    clients: Sequence[tuple[AskOne, Tally]],
    pause_s: float = 0.0,
) -> AsyncIterator[None]:
    """Runs clients, each with its tally, until the block ends; waits for their last replies.

    `pause_s`: mean time from a reply to the client's next question.
    """
    telling = next(iter(expected.values()))
    if not telling:
        raise RuntimeError("both versions answer every question alike: none tells them apart")
    questions = itertools.cycle(telling)
    ended = asyncio.Event()

    async def client(ask: AskOne, tally: Tally) -> None:
        while not ended.is_set():
            await asyncio.sleep(pause_s * random.uniform(0.0, 2.0))
            one, live, began = next(questions), student.live, time.perf_counter()
            promotions = student.promotions
            try:
                reply = await ask(one)
            except Exception as error:  # whatever the client's library raises, the answer is lost
                tally.lost += 1
                tally.errors[_words(error)] += 1
                await asyncio.sleep(PAUSE_S)
                continue
            tally.seconds.append(time.perf_counter() - began)
            tally.by_version[reply.version] += 1
            if reply.answer != expected[reply.version][one]:
                is_mixed = any(answers[one] == reply.answer for answers in expected.values())
                tally.mixed += is_mixed
                tally.other += not is_mixed
            elif live and promotions == student.promotions and reply.version != live:
                tally.stale += 1

    async with asyncio.TaskGroup() as group:
        for ask, tally in clients:
            group.create_task(client(ask, tally))
        try:
            yield
        finally:
            ended.set()


def _words(error: BaseException) -> str:
    """Words of the error beneath those that a library puts around it."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.details() or str(error.code())
    return _words(error.__cause__) if error.__cause__ else f"{type(error).__name__}: {error}"
