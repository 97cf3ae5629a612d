"""Growth of the student's resident memory over many requests and swaps, after a tenth of them.

    python -m benchmarks.memory

100,000 requests and 1,000 swaps through a real service with the fake engine; 10,000 and 200 with
the bundled student in transformers. Three versions take turns in two slots, so every swap loads
one and unloads one. The figure includes all processes of the service, first after a warm-up of a
tenth, again at the end.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from benchmarks import arguments, clients
from benchmarks.arguments import Arguments
from benchmarks.checkpoints import checkpoint
from benchmarks.folders import work_folder
from benchmarks.processes import serving, threads_for
from benchmarks.questions import Asked, ask
from benchmarks.row import MIB, PERCENT, Question, Row
from benchmarks.stores import fill
from benchmarks.traffic import CLIENTS, Student
from benchmarks.versions import fake, noisy

AMOUNTS = {"fake": (100_000, 1_000), "transformers": (10_000, 200)}
"""Requests and swaps."""
WARM_UP = 0.1
SETTLE_S = 3.0


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    if model == "bundled":
        for engine in given.engines(AMOUNTS):
            yield await measure_engine(engine, given)


async def measure_engine(engine: str, given: Arguments) -> Row:
    requests, swaps = (given.share(amount) for amount in AMOUNTS[engine])
    folder = work_folder(f"memory-{engine}")
    threads = threads_for("bundled")
    versions = make_versions(engine, folder)
    await asyncio.to_thread(fill, folder, versions, "bundled")
    asked = itertools.cycle(ask(0, 1000, 4))
    coming = itertools.cycle(("v2", "v3", "v1"))
    async with (
        serving(
            "student", folder, threads, engine=engine, swap="two_slots", max_loaded=2
        ) as service,
        clients.connect(service.address) as channel,
    ):
        student = Student(channel)
        readings = []
        for share in (WARM_UP, 1 - WARM_UP):
            await use(student, asked, coming, round(requests * share), round(swaps * share))
            await asyncio.sleep(SETTLE_S)
            readings.append(service.memory())
    before, after = readings
    question = Question(
        name=f"memory-{engine}",
        what=f"growth of resident memory over {requests:,} requests and {swaps:,} swaps",
        other="-",
        model="scripted" if engine == "fake" else "bundled",
        engine=engine,
        unit="percent",
        at_most=5.0,
    )
    grown = PERCENT * (after - before) / before
    return question.counted(
        grown,
        runs=1,
        before_mib=before // MIB,
        after_mib=after // MIB,
        requests=requests,
        swaps=swaps,
    )


def make_versions(engine: str, folder: Path) -> list[Path]:
    if engine == "fake":
        return [
            fake(folder / name, skill)
            for name, skill in (("one", 0.9), ("two", 0.5), ("three", 0.1))
        ]
    base = checkpoint("bundled")
    return [base, *(noisy(base, folder / f"noisy-{seed}", seed) for seed in (1, 2))]


async def use(
    student: Student, asked: Iterator[Asked], coming: Iterator[str], requests: int, swaps: int
) -> None:
    """The requests from CLIENTS clients, the swaps spread evenly over them."""
    every = max(1, requests // max(1, swaps))
    done = 0
    due: asyncio.Queue[str | None] = asyncio.Queue()

    async def client() -> None:
        nonlocal done
        while done < requests:
            done += 1
            if done % every == 0:
                due.put_nowait(next(coming))
            await student.answer(next(asked))

    async def swapper() -> None:
        while (version := await due.get()) is not None:
            await student.promote(version)

    swapping = asyncio.create_task(swapper())
    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client())
    due.put_nowait(None)
    await swapping


if __name__ == "__main__":
    arguments.run([measure], __doc__)
