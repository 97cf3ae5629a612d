"""Annotation and identification as one stream: an annotated image goes to the student at once.

Memory is constant: a few images are read ahead, in_flight.py bounds the images in flight,
and results are in the ledger.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import ExitStack, aclosing
from functools import partial

from services.core.parity import Cell
from services.orchestrator.images.reading import Passed, read_images
from services.orchestrator.images.source import Source
from services.orchestrator.in_flight import InFlight
from services.orchestrator.run.progress import Meter, Progress
from services.orchestrator.run.run import Run
from services.orchestrator.steps.admission import Admission, unfinished
from services.orchestrator.steps.annotation import annotate
from services.orchestrator.steps.identification import identify
from services.rpc.client import Picture, Student, Teacher
from services.together import together

ANNOTATED, IDENTIFIED = 1, 2


class Stream:
    """One pass over the pool. Without a student it only annotates."""

    def __init__(self, run: Run, pool: Source, teacher: Teacher, student: Student | None) -> None:
        self._run = run
        self._pool = pool
        self._teacher = teacher
        self._student = student
        self._goal = IDENTIFIED if student else ANNOTATED
        self._under_way: set[str] = set()
        calls = max(model.in_flight for model in (teacher, student) if model)
        per_image = run.settings.recipe.questions_per_image
        self._in_flight = InFlight.with_questions(per_image, calls)
        self._cells: Counter[Cell] = Counter(run.ledger.cell_counts())
        self._began = time.monotonic()
        self._annotated_at = self._began

    async def flow(self, progress: Progress, total: int | None) -> None:
        """`total`: number of images, None if it isn't known."""
        stages = ("annotate", "identify") if self._student else ("annotate",)
        with ExitStack() as stack:
            stack.enter_context(self._run.ledger.in_batches())
            meters = [stack.enter_context(progress.stage(name, "images", total)) for name in stages]
            admission = Admission(self._run)
            reading = read_images(
                self._pool.store,
                unfinished(self._run, self._pool, self._goal),
                self._run.settings.pixel_budget,
            )
            try:
                async with aclosing(reading) as found_ones, together() as group:
                    async for found in found_ones:
                        if isinstance(found, Passed):
                            _advance(meters, by=found.count, counts=False)
                            continue
                        picture = admission.admit(found)
                        if picture is None or self._is_taken(found.path, picture):
                            _advance(meters)
                            continue
                        size = len(picture.data)
                        await self._in_flight.enter(size)
                        self._under_way.add(picture.sha256)
                        task = group.create_task(self._one(picture, meters))
                        task.add_done_callback(partial(self._leave, size))
            finally:
                if self._annotated_at > self._began:
                    self._run.state.add_seconds("annotate", self._annotated_at - self._began)
                if self._student:
                    self._run.state.add_seconds("identify", time.monotonic() - self._began)

    def _is_taken(self, path: str, picture: Picture) -> bool:
        """Whether the image is in flight or finished: a manifest may name one twice."""
        return picture.sha256 in self._under_way or self._run.ledger.is_finished(path, self._goal)

    def _leave(self, size: int, _: asyncio.Task[None]) -> None:
        self._in_flight.leave(size)

    async def _one(self, picture: Picture, meters: list[Meter]) -> None:
        try:
            await self._through(picture, meters)
        finally:
            self._under_way.discard(picture.sha256)

    async def _through(self, picture: Picture, meters: list[Meter]) -> None:
        annotations = await annotate(self._run, self._teacher, picture)
        self._run.ledger.set_step(picture.sha256, ANNOTATED)
        self._annotated_at = time.monotonic()
        meters[0].advance()
        if self._student is None:
            return
        async with together() as group:
            asked = [
                group.create_task(
                    identify(self._run, self._teacher, self._student, picture, annotation)
                )
                for annotation in annotations
            ]
        self._cells.update(cell for task in asked if (cell := task.result()))
        self._run.ledger.set_step(picture.sha256, IDENTIFIED)
        meters[1].advance(
            "  ".join(f"{cell} {count}" for cell in Cell if (count := self._cells[cell]))
        )


def _advance(meters: list[Meter], *, by: int = 1, counts: bool = True) -> None:
    for meter in meters:
        meter.advance(by=by, counts=counts)
