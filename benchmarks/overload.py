"""A service at ten times its capacity: answers in time, fast refusals, memory.

    python -m benchmarks.overload                     gRPC, /v1/vqa, /v1/chat/completions
    python -m benchmarks.overload --protocol grpc

The student's process with the fake engine answers 20 requests/s in batches of four. For a minute
200 callers a second arrive at an even pace, and each waits at most ten seconds. Meanwhile another
caller lists the versions every second, and the memory of the service's processes is read. After the
storm a caller arrives every 0.25 s. Each of these must be answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.callers import (
    ANSWERED,
    FAILED,
    LATE,
    OUTCOMES,
    PATIENCE_S,
    PROTOCOLS,
    REFUSED,
    AskOne,
    list_versions,
)
from benchmarks.folders import work_folder
from benchmarks.images import tiny_png
from benchmarks.processes import serving
from benchmarks.row import MIB, PERCENT, Question, Row, percentile
from services.engines.fake import FakeModel

BATCH, BATCH_S = 4, 0.2
CAPACITY = BATCH / BATCH_S
TIMES = 10
STORM_S = 60
AFTER_S, AFTER_EVERY_S = 20, 0.25
MEMORY_EVERY_S = 1.0
IMAGES = 64


@dataclass(slots=True)
class Outcomes:
    """Outcomes of many calls."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in OUTCOMES})
    """Seconds that each caller waited, by outcome."""
    answered_meanwhile: int = 0
    """Answers that came before the last caller did."""

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
    memory: Sequence[int]
    """Bytes resident in the service's processes, every MEMORY_EVERY_S seconds of it."""

    @property
    def growth_percent(self) -> float:
        """Greatest memory in the second half, above that at its beginning."""
        half = self.memory[len(self.memory) // 2 :]
        return PERCENT * (max(half) - half[0]) / half[0]


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
    images = [tiny_png(number) for number in range(IMAGES)]
    seconds = given.share(STORM_S)
    async with (
        serving("student", folder, 1, engine="fake", model=checkpoint, max_batch=BATCH) as service,
        PROTOCOLS[protocol](service, images) as ask,
        list_versions(service) as control,
    ):
        storm = await _storm(ask, control, service.memory, seconds)
    for row in _rows(protocol, storm, seconds):
        yield row


def _rows(protocol: str, storm: Storm, seconds: float) -> list[Row]:
    during, after = storm.during, storm.after
    told = _conditions(storm, seconds)
    goodput = _question(protocol, "goodput", "answers in time", "of capacity", at_least=0.95)
    broken = _question(
        protocol, "broken", "accepted, but not answered in time", "callers", at_most=0.0
    )
    refusals = _question(protocol, "refusals", "refusals, 99th percentile", "ms", at_most=50.0)
    memory = _question(
        protocol, "memory", "growth of memory in the second half", "percent", at_most=5.0
    )
    missed = _question(protocol, "after", "callers not answered after it", "callers", at_most=0.0)
    return [
        goodput.counted(during.answered_meanwhile / (CAPACITY * seconds), 1, **told),
        broken.counted(during.count(LATE) + during.count(FAILED), 1, **told),
        refusals.counted(1e3 * during.percentile(REFUSED), 1, **told),
        memory.counted(
            storm.growth_percent,
            1,
            **{
                f"{name}_mib": storm.memory[at] // MIB
                for name, at in (("first", 0), ("half", len(storm.memory) // 2), ("last", -1))
            },
        ),
        missed.counted(
            after.missed,
            1,
            answered=after.count(ANSWERED),
            answered_p99_s=round(after.percentile(ANSWERED), 2),
        ),
    ]


def _question(
    protocol: str,
    name: str,
    what: str,
    unit: str,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Question:
    return Question(
        name=f"overload-{protocol}-{name}",
        what=f"{protocol} at {TIMES} times its capacity: {what}",
        other="-",
        model="fake",
        engine="fake",
        unit=unit,
        at_least=at_least,
        at_most=at_most,
    )


def _conditions(storm: Storm, seconds: float) -> dict[str, float | int]:
    during = storm.during
    return {
        **{outcome: during.count(outcome) for outcome in OUTCOMES},
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


async def _storm(ask: AskOne, control: AskOne, memory: Callable[[], int], seconds: float) -> Storm:
    during, listed, after = Outcomes(), Outcomes(), Outcomes()
    readings: list[int] = []

    async def read_memory() -> None:
        while True:
            readings.append(await asyncio.to_thread(memory))
            await asyncio.sleep(MEMORY_EVERY_S)

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read_memory())
        group.create_task(_come(control, listed, 1.0, seconds))
        await _come(ask, during, 1 / (TIMES * CAPACITY), seconds)
        reading.cancel()
    await _come(ask, after, AFTER_EVERY_S, AFTER_S)
    return Storm(during, listed, after, readings)


async def _come(ask: AskOne, outcomes: Outcomes, every_s: float, seconds: float) -> None:
    """Callers at an even pace, whatever the service does."""

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


if __name__ == "__main__":
    parser = arguments.parser(__doc__)
    parser.add_argument("--protocol", choices=PROTOCOLS, help="protocol (default: all)")
    given = parser.parse_args()
    arguments.measure([partial(measure_one, given.protocol) if given.protocol else measure], given)
