"""Rate of a run while somebody reads its pages, against the same run alone.

    python -m benchmarks.onlooker

The fake engine replies at once, so the processors are the bottleneck: the explorer takes what the
run would have used. The onlooker opens a view every three seconds (overview, a list of records, a
record, a search), and has the live page open. `explorer_cores`: processor seconds of the explorer,
for each second of the run. `low` and `high`: 95 % interval of the mean ratio over the pairs.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import statistics
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import psutil

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.explorer import Served, served
from benchmarks.folders import work_folder
from benchmarks.images import draw
from benchmarks.overhead import PER_IMAGE, SKILLS, USABLE, pass_of
from benchmarks.processes import serving
from benchmarks.row import Pair, Question, Row
from services.core.intervals import bootstrap
from services.engines.fake import FakeModel

RECORDS = 20_000
VIEW_EVERY_S = 3.0
VIEWS = (
    "overview",
    "records?cell=gap",
    "records?order=unsure",
    "records?q=color&cell=known",
    "records?order=newest",
)
BAR = 0.98
RATE = Question(
    name="onlooker",
    what="records/s of a run whose pages are read",
    other="the same run alone",
    model="scripted",
    engine="fake",
    unit="records/s",
    at_least=BAR,
)


@dataclass(slots=True)
class Onlooker:
    """Reader of one run. `views`: opened so far, without those of a run that had not begun."""

    address: str
    run: str
    views: int = 0

    async def read(self) -> None:
        """Opens views until it is cancelled."""
        async with (
            httpx.AsyncClient(base_url=self.address, timeout=60) as client,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._watch(client))
            for view in itertools.cycle(VIEWS):
                await self._open(client, view)
                await asyncio.sleep(VIEW_EVERY_S)

    async def _open(self, client: httpx.AsyncClient, view: str) -> None:
        answer = await client.get(f"/runs/{self.run}/{view}")
        self.views += answer.is_success

    async def _watch(self, client: httpx.AsyncClient) -> None:
        """Keeps the live page's stream open."""
        while True:
            async with client.stream("GET", f"/runs/{self.run}/live/events") as events:
                async for _ in events.aiter_raw():
                    pass
            await asyncio.sleep(VIEW_EVERY_S)  # the run had not begun, or has ended


@asynccontextmanager
async def reading(explorer: Served, run: str) -> AsyncIterator[Onlooker]:
    onlooker = Onlooker(explorer.address, run)
    task = asyncio.create_task(onlooker.read())
    try:
        yield onlooker
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    if model == "bundled":
        yield await compare(given)


async def compare(given: Arguments) -> Row:
    records = given.share(RECORDS)
    folder = work_folder("onlooker")
    await asyncio.to_thread(draw, folder / "images", round(records / PER_IMAGE / USABLE))
    for role, skill in SKILLS.items():
        FakeModel(skill=skill).write(folder / role)
    pairs: list[Pair] = []
    cores: list[float] = []
    views = 0
    async with (
        serving("teacher", folder, 1, model=folder / "teacher", engine="fake") as teacher,
        serving("student", folder, 1, model=folder / "student", engine="fake") as student,
    ):
        for number in range(given.runs + 1):  # the first pair warms up
            rates: dict[bool, float] = {}
            for is_read in _sides(number):
                name = f"run-{number}-{is_read}"
                runs = folder / f"runs-{number}-{is_read}"
                runs.mkdir()
                if is_read:
                    with served(runs) as explorer:
                        async with reading(explorer, name) as onlooker:
                            made = await pass_of(runs / name, folder, teacher, student)
                        times = psutil.Process(explorer.process.pid).cpu_times()
                        cores.append((times.user + times.system) / made.seconds)
                        views += onlooker.views
                        print(f"explorer: {cores[-1]:.3f} cores, {onlooker.views} views")
                else:
                    made = await pass_of(runs / name, folder, teacher, student)
                rates[is_read] = made.records / made.seconds
                shutil.rmtree(runs)
            if number:
                pairs.append(Pair(rates[True], rates[False]))
    mean = bootstrap([(str(n), pair.ratio) for n, pair in enumerate(pairs)])
    return RATE.row(
        pairs,
        records=records,
        view_every_s=VIEW_EVERY_S,
        views=views,
        explorer_cores=round(statistics.median(cores), 3),
        low=round(mean.low, 3),
        high=round(mean.high, 3),
    )


def _sides(number: int) -> Iterator[bool]:
    """Both sides, in turns: neither is always the first."""
    yield bool(number % 2)
    yield not number % 2


if __name__ == "__main__":
    arguments.run([measure], __doc__)
