"""One pass of the orchestrator, annotate and identify, with its progress and memory over time.

    python -m benchmarks.one_pass RUN IMAGES TEACHER STUDENT QUESTIONS_PER_IMAGE CACHE

A process of its own that does as `mpa-orch align` up to the parity set, teacher cache included.
Prints one JSON object, a Pass.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path

import psutil
from rich.console import Console

from services.orchestrator.alignment import annotate_and_identify
from services.orchestrator.endpoints import connect
from services.orchestrator.endpoints.where import Where
from services.orchestrator.run.progress import Meter, Progress
from services.orchestrator.run.run import Run, open_run
from services.orchestrator.run.settings import new_settings

MARK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Mark:
    """Finished images, resident bytes and processor seconds of this process after `seconds`."""

    seconds: float
    images: int
    resident: int
    processor_s: float


@dataclass(frozen=True, slots=True)
class Pass:
    """Number of identified records, and a mark every second, the last at the end."""

    records: int
    marks: tuple[Mark, ...]

    @property
    def seconds(self) -> float:
        return self.marks[-1].seconds

    @staticmethod
    def read(text: str) -> Pass:
        raw = json.loads(text)
        return Pass(raw["records"], tuple(Mark(**mark) for mark in raw["marks"]))


class _Watched(Progress):
    """Keeps the meter of the last stage."""

    meter: Meter | None = None

    @contextmanager
    def stage(self, name: str, unit: str, total: int | None) -> Iterator[Meter]:
        with super().stage(name, unit, total) as meter:
            self.meter = meter
            yield meter


async def one_pass(run: Run, where: Where) -> Pass:
    process = psutil.Process()
    marks = []

    with _Watched(Console(file=StringIO())) as progress:
        async with connect.both(where, run.folder, progress) as (teacher, student):
            began = time.perf_counter()

            def mark() -> None:
                done = progress.meter.done if progress.meter else 0
                marks.append(
                    Mark(
                        time.perf_counter() - began,
                        done,
                        process.memory_info().rss,
                        time.process_time(),
                    )
                )

            async def watch() -> None:
                while True:
                    mark()
                    await asyncio.sleep(MARK_EVERY_S)

            watching = asyncio.create_task(watch())
            await annotate_and_identify(run, teacher, student, progress)
            watching.cancel()
            mark()
    return Pass(sum(run.ledger.cell_counts().values()), tuple(marks))


def main(folder: str, images: str, teacher: str, student: str, per_image: str, cache: str) -> None:
    settings = new_settings(images, "vqa", "paper")
    settings = replace(
        settings, recipe=replace(settings.recipe, questions_per_image=int(per_image))
    )
    with open_run(Path(folder), settings) as run:
        print(
            json.dumps(
                asdict(asyncio.run(one_pass(run, Where(teacher, student, cache=Path(cache)))))
            )
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
