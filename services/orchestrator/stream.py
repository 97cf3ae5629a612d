"""Annotate and identify as one bounded stream: an image that is annotated goes to the student at once.

Memory is constant: a few images are read ahead, IMAGES_IN_FLIGHT are on their way, and results live in the ledger.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from services.core.parity import Cell
from services.orchestrator.admission import admit
from services.orchestrator.annotation import annotate
from services.orchestrator.identification import identify
from services.orchestrator.pool import Pool, read_images
from services.orchestrator.progress import Meter, Progress
from services.orchestrator.run import Run
from services.orchestrator.tasks import together
from services.rpc.client import Picture, StudentClient, TeacherClient

IMAGES_IN_FLIGHT = 128
READERS = 4
ANNOTATED, IDENTIFIED = 1, 2


class Stream:
    """One pass over the pool. Without a student it annotates only."""

    def __init__(self, run: Run, pool: Pool, teacher: TeacherClient, student: StudentClient | None) -> None:
        self._run, self._pool, self._teacher, self._student = run, pool, teacher, student
        self._goal = IDENTIFIED if student else ANNOTATED
        self._permits = asyncio.Semaphore(IMAGES_IN_FLIGHT)
        self._cells: Counter[Cell] = Counter(record.cell for record in run.ledger.records())
        self._began = time.monotonic()
        self._annotated_at = self._began

    async def flow(self, progress: Progress) -> None:
        total = len(self._pool.paths)
        stages = ("annotate", "identify") if self._student else ("annotate",)
        with ExitStack() as stack:
            meters = [stack.enter_context(progress.stage(name, "images", total)) for name in stages]
            readers = stack.enter_context(ThreadPoolExecutor(READERS, "reader"))
            try:
                async with together() as group:
                    async for found in read_images(self._pool.root, self._pending(meters), readers):
                        picture = admit(self._run, found)
                        if picture is None:
                            _advance(meters)
                            continue
                        await self._permits.acquire()
                        task = group.create_task(self._one(picture, meters))
                        task.add_done_callback(lambda _: self._permits.release())
            finally:
                if self._annotated_at > self._began:
                    self._run.ledger.add_seconds("annotate", self._annotated_at - self._began)
                if self._student:
                    self._run.ledger.add_seconds("identify", time.monotonic() - self._began)

    def _pending(self, meters: list[Meter]) -> Iterator[str]:
        """The images that aren't finished yet."""
        for path in self._pool.paths:
            row = self._run.ledger.image(path)
            if row is not None and (row.rejection or row.step >= self._goal):
                _advance(meters, counts=False)
            else:
                yield path

    async def _one(self, picture: Picture, meters: list[Meter]) -> None:
        annotations = await annotate(self._run, self._teacher, picture)
        self._run.ledger.set_step(picture.sha256, ANNOTATED)
        self._annotated_at = time.monotonic()
        meters[0].advance()
        if self._student is None:
            return
        async with together() as group:
            asked = [
                group.create_task(identify(self._run, self._teacher, self._student, picture, annotation))
                for annotation in annotations
            ]
        self._cells.update(cell for task in asked if (cell := task.result()))
        self._run.ledger.set_step(picture.sha256, IDENTIFIED)
        meters[1].advance("  ".join(f"{cell} {count}" for cell in Cell if (count := self._cells[cell])))


def _advance(meters: list[Meter], *, counts: bool = True) -> None:
    for meter in meters:
        meter.advance(counts=counts)
