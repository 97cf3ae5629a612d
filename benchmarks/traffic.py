"""Sixteen clients that ask all the time, and check each answer against the version it names."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

from benchmarks.questions import Asked
from protos.mpa.v1 import student_pb2, student_pb2_grpc, types_pb2, versions_pb2, versions_pb2_grpc

CLIENTS = 16
LOAD_TIMEOUT_S = 300.0

Expected = Mapping[str, Mapping[Asked, str]]
"""Answers by question by version."""


@dataclass(slots=True)
class Tally:
    """Outcomes of the requests.

    `mixed`: the answer of another version than the reply names; `other`: the answer of no version.
    """

    seconds: list[float] = field(default_factory=list)
    lost: int = 0
    mixed: int = 0
    other: int = 0
    by_version: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


class Student:
    """The student's answers and versions over one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._answers = student_pb2_grpc.StudentServiceStub(channel)
        self._versions = versions_pb2_grpc.VersionServiceStub(channel)

    async def answer(self, one: Asked, version: str = "") -> student_pb2.AnswerResponse:
        request = student_pb2.AnswerRequest(
            image=types_pb2.Image(data=one.data), question=one.question, version=version
        )
        response: student_pb2.AnswerResponse = await self._answers.Answer(request)
        return response

    async def promote(self, version: str) -> str:
        """Promotes a version and returns the way it was swapped in."""
        request = versions_pb2.PromoteVersionRequest(name=version)
        reply = await self._versions.PromoteVersion(request, timeout=LOAD_TIMEOUT_S)
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
    """Runs clients until the block ends, then waits for their last replies."""
    telling = next(iter(expected.values()))
    if not telling:
        raise RuntimeError("both versions answer every question alike: none tells them apart")
    questions = itertools.cycle(telling)
    tally = Tally()
    ended = asyncio.Event()

    async def client() -> None:
        while not ended.is_set():
            one = next(questions)
            began = time.perf_counter()
            try:
                reply = await student.answer(one)
            except grpc.aio.AioRpcError as error:
                tally.lost += 1
                tally.errors[error.details() or str(error.code())] += 1
                continue
            tally.seconds.append(time.perf_counter() - began)
            tally.by_version[reply.version] += 1
            if reply.answer == expected[reply.version][one]:
                continue
            if any(answers[one] == reply.answer for answers in expected.values()):
                tally.mixed += 1
            else:
                tally.other += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
        try:
            yield tally
        finally:
            ended.set()
