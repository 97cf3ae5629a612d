"""Longest standstill of the student's event loop while versions of 2 GiB are swapped.

    python -m benchmarks.standstill

Weights are sparse files and the engine is the fake one, so that the figure holds nothing but the
student's own work: versions are added, loaded, promoted and rolled back, with two slots and in
place. Time that the loop's thread waits for a core is the machine's and not counted (Linux counts
it in schedstat); `longest_ms` includes it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.folders import work_folder
from benchmarks.row import MILLISECONDS, Question, Row
from benchmarks.versions import fake
from services.core.contract import Contract
from services.engines.settings import EngineSettings
from services.student.loader import StoredVersions
from services.student.manifest import Origin
from services.student.plan import SwapWay
from services.student.pointers import Pointers
from services.student.store import VersionStore
from services.student.versions import Versions

GIB = 2**30
NANOSECONDS = 1e9
WEIGHTS_GIB = 2.0
TICK_S = 0.001


@dataclass(slots=True)
class Standstill:
    """The longest time between two ticks of the loop, in seconds, less the tick."""

    longest: float = 0.0
    """All of it, the wait for a core included."""
    own: float = 0.0
    """Without the wait for a core."""


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    if model == "bundled" and given.engines(["fake"]):
        for way in (SwapWay.TWO_SLOTS, SwapWay.IN_PLACE):
            yield await measure_way(way, given)


async def measure_way(way: SwapWay, given: Arguments) -> Row:
    folder = work_folder(f"standstill-{way.name.lower()}")
    size = int(WEIGHTS_GIB * GIB / (10 if given.quick else 1))
    store = VersionStore(folder / "store")
    try:
        async with standing_still() as found:
            await swap(store, folder, size, way)
    finally:
        store.close()
    question = Question(
        name=f"standstill-{way.name.lower()}",
        what=f"longest standstill of the event loop while 2 GiB are swapped, {way}",
        other="-",
        model="scripted",
        engine="fake",
        unit="ms",
        at_most=50.0,
    )
    return question.counted(
        found.own * MILLISECONDS,
        runs=1,
        weights_gib=size / GIB,
        longest_ms=round(found.longest * MILLISECONDS),
    )


async def swap(store: VersionStore, folder: Path, size: int, way: SwapWay) -> None:
    """Adds two versions as the student does, then loads, promotes and rolls back."""
    for number, skill in enumerate((0.9, 0.1)):
        weights = fake(folder / f"{number}", skill) / "model.safetensors"
        with weights.open("wb") as file:
            file.truncate(size)
        await asyncio.to_thread(store.add, weights.parent, Origin(), Contract())
    await asyncio.to_thread(store.point, Pointers(live="v1"))
    loader = StoredVersions(store, EngineSettings(engine="fake"))
    versions = Versions(store, loader, max_loaded=2, way=way)
    await versions.start()
    if way is SwapWay.TWO_SLOTS:
        await versions.load("v2")
    await versions.promote("v2")
    await versions.rollback()
    await versions.close()


@asynccontextmanager
async def standing_still() -> AsyncIterator[Standstill]:
    found = Standstill()
    schedule = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")

    def waited_s() -> float:
        """Time that this thread has waited for a core."""
        return int(schedule.read_text().split()[1]) / NANOSECONDS

    async def tick() -> None:
        while True:
            began, waited = time.perf_counter(), waited_s()
            await asyncio.sleep(TICK_S)
            late = time.perf_counter() - began - TICK_S
            found.longest = max(found.longest, late)
            found.own = max(found.own, late - (waited_s() - waited))

    ticking = asyncio.create_task(tick())
    try:
        yield found
    finally:
        ticking.cancel()


if __name__ == "__main__":
    arguments.run([measure], __doc__)
