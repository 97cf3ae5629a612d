"""Saved teacher calls: for a second student on the same images, and by asking the student first.

    python -m benchmarks.teacher_calls --engine fake

Four runs over the same images with one teacher cache: the first student, student first; the same
with every question to both; then a second student. The first two must find the same gap, to the
record. The second student's row counts after the full matrix, where everything is known. After
student-first alone it errs on questions that the teacher was never asked; the row's conditions
have that count.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from rich.console import Console

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.checkpoints import checkpoint
from benchmarks.folders import work_folder
from benchmarks.processes import Service, serving
from benchmarks.questions import copy_images
from benchmarks.row import Pair, Question, Row
from benchmarks.versions import fake, noisy
from services.core.parity import Cell
from services.orchestrator.alignment import annotate_and_identify
from services.orchestrator.endpoints import connect
from services.orchestrator.endpoints.where import Where
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import open_run
from services.orchestrator.run.settings import new_settings
from services.orchestrator.run.summary import summarise

IMAGES = {"fake": 2000, "transformers": 160}


@dataclass(frozen=True, slots=True)
class Identified:
    """Calls made to the teacher, its answers in the run, and the keys of the gap's records."""

    calls: int
    answers: int
    gap: frozenset[tuple[str, str, str]]


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    if model == "bundled":
        for engine in given.engines(IMAGES):
            for row in await measure_engine(engine, given):
                yield row


async def measure_engine(engine: str, given: Arguments) -> list[Row]:
    folder = work_folder(f"teacher-calls-{engine}")
    images = given.share(IMAGES[engine])
    teacher_folder, first_folder, second_folder = _models(engine, folder)
    for name in ("first", "second"):
        (folder / name).mkdir()
    pool = copy_images(folder / "pool", 0, images)
    cache = folder / "cache.sqlite"
    early = folder / "early.sqlite"
    async with (
        serving("teacher", folder, 1, model=teacher_folder, engine=engine) as teacher,
        serving("student", folder / "first", 1, model=first_folder, engine=engine) as first,
        serving("student", folder / "second", 1, model=second_folder, engine=engine) as second,
    ):
        student_first = await identify(folder / "student-first", pool, teacher, first, cache)
        shutil.copyfile(cache, early)
        full = await identify(folder / "full-matrix", pool, teacher, first, cache, full_matrix=True)
        another = await identify(folder / "another", pool, teacher, second, cache)
        partly = await identify(folder / "another-early", pool, teacher, second, early)
    if student_first.gap != full.gap:
        raise RuntimeError(
            f"the gap differs: {len(student_first.gap ^ full.gap)} records, see {folder}"
        )
    model = "scripted" if engine == "fake" else "bundled"
    again = Question(
        name=f"second-student-{engine}",
        what="teacher calls for a second student on the same images",
        other="-",
        model=model,
        engine=engine,
        unit="calls",
        at_most=0,
    )
    fewer = Question(
        name=f"student-first-{engine}",
        what="teacher answers, student first",
        other="every question to both, the same gap",
        model=model,
        engine=engine,
        unit="answers",
    )
    paid = student_first.calls + full.calls
    return [
        again.counted(
            another.calls,
            runs=1,
            images=images,
            paid_before=paid,
            after_student_first_alone=partly.calls,
        ),
        fewer.row([Pair(student_first.answers, full.answers)], images=images, gap=len(full.gap)),
    ]


def _models(engine: str, folder: Path) -> tuple[Path, Path, Path]:
    """Teacher, student, and another student with other errors."""
    if engine == "fake":
        return fake(folder / "teacher", 0.95), fake(folder / "one", 0.6), fake(folder / "two", 0.4)
    base = checkpoint("bundled")
    return checkpoint("bundled", "teacher"), base, noisy(base, folder / "two", 1)


async def identify(
    folder: Path,
    images: Path,
    teacher: Service,
    student: Service,
    cache: Path,
    *,
    full_matrix: bool = False,
) -> Identified:
    settings = new_settings(str(images), "vqa", "paper", full_matrix=full_matrix)
    where = Where(teacher.address, student.address, cache=cache)
    with open_run(folder, settings) as run, Progress(Console(file=StringIO())) as progress:
        async with connect.both(where, folder, progress) as (one, other):
            await annotate_and_identify(run, one, other, progress)
        gap = frozenset(
            (r.image_sha256, r.question, r.answer)
            for r in run.ledger.records()
            if r.cell is Cell.GAP
        )
        answers = next(
            int(count)
            for (count,) in run.ledger.read("SELECT count(*) FROM answers WHERE role = 'teacher'")
        )
        return Identified(summarise(run.ledger).teacher_calls, answers, gap)


if __name__ == "__main__":
    arguments.run([measure], __doc__)
