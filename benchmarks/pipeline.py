"""Annotate, answer, answer: the orchestrator's stream, against the authors' three passes.

    python -m benchmarks.pipeline --model bundled

Two rows. In one the teacher answers only the student's wrong questions, as the platform does: the
same parity set for less. In the other both models answer every question (`full_matrix`), so both
sides compute the same number of replies. Model loading is on neither side. "150m" is the bundled
pair widened to that cost, since random weights write no readable annotations.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path

from rich.console import Console

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.checkpoints import answering_checkpoint
from benchmarks.folders import work_folder
from benchmarks.processes import Service, peer, serving
from benchmarks.questions import copy_images
from benchmarks.row import Pair, Question, Row
from services.orchestrator.alignment import annotate_and_identify
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import open_run
from services.orchestrator.run.settings import new_settings
from services.rpc.client import StudentClient, TeacherClient

IMAGES = {"bundled": 320, "150m": 24}
ENGINES = ("vllm", "transformers")
BAR = 3.0
LEAST_RECORDS = 0.8
"""Per image. The other annotations are unreadable, or the image is a duplicate."""


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    for engine in given.engines(ENGINES):
        for row in await measure_engine(model, engine, given):
            yield row


async def measure_engine(model: str, engine: str, given: Arguments) -> list[Row]:
    images = given.share(IMAGES[model])
    cores = len(os.sched_getaffinity(0))
    folder = work_folder(f"pipeline-{engine}-{model}")
    teacher_folder, student_folder = (
        answering_checkpoint(model, role) for role in ("teacher", "student")
    )
    each = max(1, cores // 2)
    pairs: dict[str, list[Pair]] = {"pipeline": [], "pipeline-full-matrix": []}
    async with (
        peer("three_passes", folder, cores, str(teacher_folder), str(student_folder)) as other,
        serving("teacher", folder, each, model=teacher_folder, engine=engine) as teacher,
        serving("student", folder, each, model=student_folder, engine=engine) as student,
    ):
        for number in range(given.runs + 1):
            seconds = {}
            for at, name in enumerate(pairs):
                run = folder / f"{name}-{number}"
                chosen = copy_images(
                    folder / f"pool-{name}-{number}", (2 * number + at) * images, images
                )
                seconds[name] = await align(
                    run, chosen, teacher, student, full_matrix=name == "pipeline-full-matrix"
                )
            theirs = await other.ask(first_image=2 * number * images, images=images)
            if number:
                for name, measured in pairs.items():
                    measured.append(Pair(images / seconds[name], images / theirs["seconds"]))
    return [_row(name, model, engine, measured, images, each) for name, measured in pairs.items()]


def _row(name: str, model: str, engine: str, pairs: list[Pair], images: int, threads: int) -> Row:
    all_asked = name == "pipeline-full-matrix"
    question = Question(
        name=f"{name}-{engine}-{model}",
        what="whole pipeline" + (", every question to both models" if all_asked else ""),
        other="three sequential passes, generate, batch 8 and 4",
        model=model,
        engine=engine,
        unit="images/s",
        at_least=BAR,
    )
    return question.row(
        pairs, images_per_run=images, threads_each=threads, their_threads=2 * threads
    )


async def align(
    folder: Path, images: Path, teacher: Service, student: Service, *, full_matrix: bool
) -> float:
    """Seconds to annotate and identify a folder of images, ledger included."""
    settings = new_settings(str(images), "vqa", "paper", full_matrix=full_matrix)
    with open_run(folder, settings) as run, Progress(Console(file=StringIO())) as progress:
        async with TeacherClient(teacher.address) as one, StudentClient(student.address) as other:
            began = time.perf_counter()
            await annotate_and_identify(run, one, other, progress)
            seconds = time.perf_counter() - began
        records = len(list(run.ledger.records()))
    if records < LEAST_RECORDS * len(list(images.iterdir())):
        raise RuntimeError(f"only {records} questions were annotated and answered: see {folder}")
    return seconds


if __name__ == "__main__":
    arguments.run([measure], __doc__)
