"""Cost of the orchestrator itself: records/s, memory, and time per record as a run grows.

    python -m benchmarks.overhead              100,000 records
    python -m benchmarks.overhead --million    1,000,000, for half an hour

Orchestrator, teacher and student are the processes that users start, teacher cache included. The
fake engine replies at once. Images have 8x8 pixels and ten questions each, so decoding and reading
hardly count. A record is an annotation with the student's answer and, if that was wrong (four in
ten), the teacher's: 2.4 calls.
"""

from __future__ import annotations

import asyncio
import sys
from bisect import bisect
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.folders import ROOT, work_folder
from benchmarks.images import draw
from benchmarks.one_pass import Mark, Pass
from benchmarks.processes import Service, serving
from benchmarks.row import MIB, PERCENT, Question, Row
from services.engines.fake import FakeModel

RECORDS, MILLION = 100_000, 1_000_000
PER_IMAGE = 10
USABLE = 0.96
"""Share of the questions that aren't duplicates of another one about their image."""
SKILLS = {"teacher": 0.95, "student": 0.6}
TENTH = 0.1


@dataclass(frozen=True, slots=True)
class Measured:
    """A pass, and the processor seconds of both services and of everything else meanwhile."""

    made: Pass
    teacher_s: float
    student_s: float
    others_s: float

    @property
    def conditions(self) -> dict[str, float | int]:
        """Processor time per record of each process, and the cores that other work took."""
        records = self.made.records
        ours = self.made.marks[-1].processor_s - self.made.marks[0].processor_s
        spent = {"orchestrator": ours, "teacher": self.teacher_s, "student": self.student_s}
        return {
            "records": records,
            "seconds": round(self.made.seconds, 1),
            "questions_per_image": PER_IMAGE,
            **{
                f"{name}_processor_ms_per_record": round(1e3 * seconds / records, 3)
                for name, seconds in spent.items()
            },
            "cores_taken_by_other_work": round((self.others_s - ours) / self.made.seconds, 2),
        }


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    if model == "bundled":
        measured = await run_through(given.share(RECORDS))
        for row in rows(measured):
            yield row


async def measure_growth(model: str, given: Arguments) -> AsyncIterator[Row]:
    """Takes half an hour, so it is not part of `make bench`."""
    if model == "bundled":
        yield growth(await run_through(given.share(MILLION)))


def rows(measured: Measured) -> list[Row]:
    made = measured.made
    conditions = measured.conditions
    rate = _question(
        "rate",
        "records/s through the orchestrator, which shares the cores with both services",
        "records/s",
        1000,
    )
    memory = _question("memory", "greatest resident memory of the orchestrator", "MiB", at_most=400)
    flat = _question(
        "memory-growth",
        "its growth from the second tenth of the run to the last",
        "percent",
        at_most=5,
    )
    first, last = (max(_resident(made, *part)) for part in ((TENTH, 2 * TENTH), (1 - TENTH, 1.0)))
    return [
        rate.counted(made.records / made.seconds, 1, **conditions),
        memory.counted(max(mark.resident for mark in made.marks) / MIB, 1, records=made.records),
        flat.counted(
            PERCENT * (last - first) / first, 1, first_mib=first // MIB, last_mib=last // MIB
        ),
    ]


def growth(measured: Measured) -> Row:
    """Time per record in the last tenth of the run / in the second (the first warms up)."""
    made = measured.made
    question = _question(
        "million",
        "time per record at the end of a run of a million / at its start",
        "ratio",
        at_most=1.1,
    )
    start, end = (
        _seconds_per_image(made.marks, *part) for part in ((TENTH, 2 * TENTH), (1 - TENTH, 1.0))
    )
    busy = [
        _processor_per_image(made.marks, *part) for part in ((TENTH, 2 * TENTH), (1 - TENTH, 1.0))
    ]
    resident = [
        max(_resident(made, *part)) // MIB for part in ((TENTH, 2 * TENTH), (1 - TENTH, 1.0))
    ]
    return question.counted(
        end / start,
        1,
        **measured.conditions,
        orchestrator_processor_ratio=round(busy[1] / busy[0], 3),
        first_mib=resident[0],
        last_mib=resident[1],
    )


def _question(
    name: str, what: str, unit: str, at_least: float | None = None, at_most: float | None = None
) -> Question:
    return Question(
        name=f"overhead-{name}",
        what=what,
        other="-",
        model="scripted",
        engine="fake",
        unit=unit,
        at_least=at_least,
        at_most=at_most,
    )


def _at(marks: tuple[Mark, ...], share: float) -> Mark:
    """The first mark by which that share of the images was done."""
    return marks[
        min(len(marks) - 1, bisect([mark.images for mark in marks], share * marks[-1].images - 1))
    ]


def _seconds_per_image(marks: tuple[Mark, ...], start: float, end: float) -> float:
    one, other = _at(marks, start), _at(marks, end)
    return (other.seconds - one.seconds) / max(1, other.images - one.images)


def _processor_per_image(marks: tuple[Mark, ...], start: float, end: float) -> float:
    one, other = _at(marks, start), _at(marks, end)
    return (other.processor_s - one.processor_s) / max(1, other.images - one.images)


def _resident(made: Pass, start: float, end: float) -> list[int]:
    one, other = (_at(made.marks, share).seconds for share in (start, end))
    return [mark.resident for mark in made.marks if one <= mark.seconds <= other]


async def run_through(records: int) -> Measured:
    folder = work_folder("overhead")
    images = round(records / PER_IMAGE / USABLE)
    await asyncio.to_thread(draw, folder / "images", images)
    for role, skill in SKILLS.items():
        FakeModel(skill=skill).write(folder / role)
    async with (
        serving("teacher", folder, 1, model=folder / "teacher", engine="fake") as teacher,
        serving("student", folder, 1, model=folder / "student", engine="fake") as student,
    ):
        before = _processor_s(teacher), _processor_s(student), _machine_s()
        made = await pass_of(folder / "run", folder, teacher, student)
        after = _processor_s(teacher), _processor_s(student), _machine_s()
    in_teacher, in_student, in_all = (end - start for start, end in zip(before, after, strict=True))
    return Measured(made, in_teacher, in_student, in_all - in_teacher - in_student)


async def pass_of(run: Path, folder: Path, teacher: Service, student: Service) -> Pass:
    """A pass over the images of `folder` in a process of its own, with a teacher cache of its own.

    `run` must be a new folder.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.one_pass",
        run,
        folder / "images",
        teacher.address,
        student.address,
        str(PER_IMAGE),
        run.with_suffix(".cache.sqlite"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the orchestrator ended with code {process.returncode}")
    return Pass.read(output.decode())


def _processor_s(service: Service) -> float:
    top = psutil.Process(service.pid)
    return float(
        sum(sum(process.cpu_times()[:2]) for process in (top, *top.children(recursive=True)))
    )


def _machine_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


if __name__ == "__main__":
    parser = arguments.parser(__doc__)
    parser.add_argument("--million", action="store_true", help="time per record of a long run")
    given = parser.parse_args()
    arguments.measure([measure_growth if given.million else measure], given)
