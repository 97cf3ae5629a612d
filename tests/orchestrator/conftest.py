"""A pool of small images, and a run of the real commands against scripted services."""

import io
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console

from services.orchestrator.cli import commands
from services.orchestrator.endpoints.where import Where
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import open_run
from services.orchestrator.run.settings import Settings, new_settings
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.orchestrator.scripted_service import serving
from tests.pictures import numbered_png


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    """The teacher cache of commands in processes of their own; `bench` uses none unless it
    gets one.
    """
    path = tmp_path_factory.mktemp("cache") / "teacher.sqlite"
    monkeypatch.setenv("MPA_CACHE", str(path))
    return path


@pytest.fixture
def pool(tmp_path) -> Path:
    """120 images."""
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in range(120):
        (folder / f"{number:03}.png").write_bytes(numbered_png(number))
    return folder


@dataclass
class Bench:
    """One run folder with both services up; `align()` is the command itself."""

    folder: Path
    settings: Settings
    where: Where
    teacher: ScriptedTeacher
    student: ScriptedStudent
    output: io.StringIO
    labelled: Path | None = None

    async def align(self, **options):
        with open_run(self.folder, self.settings) as run, self.progress() as progress:
            return await commands.align(
                run, self.where, self.labelled, lambda _: True, progress, **options
            )

    def progress(self) -> Progress:
        return Progress(Console(file=self.output))

    def parity_set(self) -> str:
        return (self.folder / "parity_set.jsonl").read_text()


@asynccontextmanager
async def bench(
    folder: Path,
    images: Path | str,
    teacher=None,
    student=None,
    recipe="rehearsal",
    patience_s=5.0,
    cache=None,
    **settings,
):
    teacher, student = teacher or ScriptedTeacher(), student or ScriptedStudent()
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        where = Where(teacher_at, student_at, patience_s=patience_s, cache=cache)
        chosen = new_settings(str(images), "vqa", recipe, **settings)
        yield Bench(folder, chosen, where, teacher, student, io.StringIO())


def with_recipe(settings: Settings, **changes) -> Settings:
    return replace(settings, recipe=replace(settings.recipe, **changes))


def rows(folder, statement):
    ledger = Ledger(folder / "ledger.sqlite", read_only=True)
    try:
        return list(ledger.read(statement))
    finally:
        ledger.close()
