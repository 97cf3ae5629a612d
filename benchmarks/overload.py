"""A service at ten times its capacity: how much of the capacity is still answered in time, and how soon the others hear no.

    python -m benchmarks.overload                     gRPC, then HTTP
    python -m benchmarks.overload --protocol grpc

The student's process with the fake engine, which answers 20 requests a second in batches of four. Callers come at 200 a
second for a minute, whatever becomes of those before them, and each waits ten seconds. Beside them one lists the versions every
second. After the storm a caller comes every quarter of a second: all of these must be answered.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle

import grpc

from benchmarks import arguments
from benchmarks.arguments import Arguments, Measure
from benchmarks.images import tiny_png
from benchmarks.processes import Service, serving, work_folder
from benchmarks.row import Question, Row, percentile
from protos.mpa.v1 import student_pb2, student_pb2_grpc, types_pb2, versions_pb2, versions_pb2_grpc
from services.engines.fake import FakeModel

BATCH, BATCH_S = 4, 0.2
CAPACITY = BATCH / BATCH_S
TIMES = 10
PATIENCE_S = 10.0
STORM_S = 60
AFTER_S, AFTER_EVERY_S = 20, 0.25
CONNECTIONS = 16
IMAGES = 64
HTTP_HEAD = (
    b"POST /v1/vqa HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"X-Request-Timeout: %g\r\nContent-Length: %%d\r\n\r\n" % PATIENCE_S
)

ANSWERED, REFUSED, LATE, FAILED = "answered", "refused", "late", "failed"
HTTP_OUTCOMES = {200: ANSWERED, 429: REFUSED, 503: LATE, 504: LATE}
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
AskOne = Callable[[int], Awaitable[str]]
Connect = Callable[[Service, list[bytes]], AbstractAsyncContextManager[AskOne]]


@dataclass(slots=True)
class Outcomes:
    """Seconds that each caller waited, by outcome; answers that were there while callers still came."""

    seconds: dict[str, list[float]] = field(
        default_factory=lambda: {ANSWERED: [], REFUSED: [], LATE: [], FAILED: []}
    )

    answered_meanwhile: int = 0

    def count(self, outcome: str) -> int:
        return len(self.seconds[outcome])

    @property
    def missed(self) -> int:
        return sum(map(len, self.seconds.values())) - self.count(ANSWERED)

    def percentile(self, outcome: str, percent: float = 99) -> float:
        return percentile(self.seconds[outcome], percent) if self.seconds[outcome] else 0.0


@dataclass(frozen=True, slots=True)
class Storm:
    during: Outcomes
    control: Outcomes
    after: Outcomes


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    for protocol in PROTOCOLS:
        async for row in measure_one(protocol, model, given):
            yield row


async def measure_one(protocol: str, model: str, given: Arguments) -> AsyncIterator[Row]:
    if model != "bundled":
        return
    folder = work_folder(f"overload-{protocol}")
    checkpoint = folder / "fake"
    FakeModel(latency_s=BATCH_S).write(checkpoint)
    images, seconds = [tiny_png(number) for number in range(IMAGES)], given.share(STORM_S)
    async with (
        serving("student", folder, 1, engine="fake", model=checkpoint, max_batch=BATCH) as service,
        PROTOCOLS[protocol](service, images) as ask,
        _control(service) as control,
    ):
        storm = await _storm(ask, control, seconds)
    for row in _rows(protocol, storm, seconds):
        yield row


def _rows(protocol: str, storm: Storm, seconds: float) -> list[Row]:
    during = storm.during
    conditions: dict[str, float | int] = {
        **{outcome: during.count(outcome) for outcome in during.seconds},
        "refused_p50_ms": round(1e3 * during.percentile(REFUSED, 50), 1),
        "refused_p90_ms": round(1e3 * during.percentile(REFUSED, 90), 1),
        "answered_p99_s": round(during.percentile(ANSWERED), 2),
        "control_calls_p99_s": round(storm.control.percentile(ANSWERED), 3),
        "control_calls_not_answered": storm.control.missed,
        "patience_s": PATIENCE_S,
        "capacity_per_s": CAPACITY,
        "callers_per_s": TIMES * CAPACITY,
        "seconds": seconds,
    }

    def question(
        name: str, what: str, unit: str, at_least: float | None = None, at_most: float | None = None
    ) -> Question:
        what = f"{protocol} at {TIMES} times its capacity: {what}"
        return Question(
            f"overload-{protocol}-{name}", what, "", "fake", "fake", unit, at_least, at_most
        )

    goodput = question("goodput", "answers in time", "of capacity", at_least=0.8)
    refusals = question("refusals", "refusals, 99th percentile", "ms", at_most=100.0)
    after = question("after", "callers not answered after it", "callers", at_most=0.0)
    return [
        goodput.counted(during.answered_meanwhile / (CAPACITY * seconds), 1, **conditions),
        refusals.counted(1e3 * during.percentile(REFUSED), 1, **conditions),
        after.counted(
            storm.after.missed,
            1,
            answered=storm.after.count(ANSWERED),
            answered_p99_s=round(storm.after.percentile(ANSWERED), 2),
        ),
    ]


async def _storm(ask: AskOne, control: AskOne, seconds: float) -> Storm:
    during, listed, after = Outcomes(), Outcomes(), Outcomes()
    async with asyncio.TaskGroup() as group:
        group.create_task(_come(control, listed, 1.0, seconds))
        group.create_task(_come(ask, during, 1 / (TIMES * CAPACITY), seconds))
    await _come(ask, after, AFTER_EVERY_S, AFTER_S)
    return Storm(during, listed, after)


async def _come(ask: AskOne, outcomes: Outcomes, every_s: float, seconds: float) -> None:
    """Callers at an even pace, which does not depend on the service."""

    async def call(number: int) -> None:
        began = time.perf_counter()
        outcome = await ask(number)
        ended = time.perf_counter()
        outcomes.seconds[outcome].append(ended - began)
        outcomes.answered_meanwhile += outcome == ANSWERED and ended < end

    began = time.perf_counter()
    end = began + seconds
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds / every_s)):
            await asyncio.sleep(began + number * every_s - time.perf_counter())
            group.create_task(call(number))


@asynccontextmanager
async def _grpc(service: Service, images: list[bytes]) -> AsyncIterator[AskOne]:
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
                return _OUTCOMES.get(error.code(), FAILED)
            return ANSWERED

        yield ask


_OUTCOMES = {grpc.StatusCode.RESOURCE_EXHAUSTED: REFUSED, grpc.StatusCode.DEADLINE_EXCEEDED: LATE}


@asynccontextmanager
async def _http(service: Service, images: list[bytes]) -> AsyncIterator[AskOne]:
    """Over plain sockets: two hundred requests a second by a client library would take a core from the service."""
    idle: list[Connection] = []

    async def ask(number: int) -> str:
        image = base64.b64encode(images[number % len(images)]).decode()
        body = json.dumps({"image": image, "question": f"what is {number}?"}).encode()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while idle and idle[-1][0].at_eof():
                    idle.pop()[1].close()
                reader, writer = (
                    idle.pop()
                    if idle
                    else await asyncio.open_connection("127.0.0.1", service.http_port)
                )
                writer.write(HTTP_HEAD % len(body) + body)
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
async def _control(service: Service) -> AsyncIterator[AskOne]:
    async with grpc.aio.insecure_channel(service.address) as channel:
        stub = versions_pb2_grpc.VersionServiceStub(channel)

        async def list_versions(_: int) -> str:
            try:
                await stub.ListVersions(versions_pb2.ListVersionsRequest(), timeout=PATIENCE_S)
            except grpc.aio.AioRpcError as error:
                return _OUTCOMES.get(error.code(), FAILED)
            return ANSWERED

        yield list_versions


PROTOCOLS: dict[str, Connect] = {"grpc": _grpc, "http": _http}

if __name__ == "__main__":
    chosen: Measure = measure
    if "--protocol" in sys.argv:
        place = sys.argv.index("--protocol")
        chosen = partial(measure_one, sys.argv[place + 1])
        del sys.argv[place : place + 2]
    arguments.run([chosen], __doc__)
