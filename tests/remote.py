"""Two real services with the fake engine, used from an installation without their libraries."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

from tests.e2e.processes import ServiceProcess, serving
from tests.installation import Installation
from tests.pictures import numbered_png
from tests.serving import fake_checkpoint

IMAGES = 120
SLOW_STEP = {"MPA_FAKE_STEP_S": "0.05"}


@dataclass(frozen=True)
class Remote:
    """`folder` holds the images (pool), the run (run), and what commands write."""

    installation: Installation
    folder: Path
    teacher: ServiceProcess
    student: ServiceProcess
    aligned: CompletedProcess[str]

    @property
    def addresses(self) -> tuple[str, ...]:
        return ("--teacher", self.teacher.address, "--student", self.student.address)

    def run(self, *arguments: object, program: str = "mpa-orch") -> CompletedProcess[str]:
        cache = str(self.folder / "cache.sqlite")
        return self.installation.run(program, *arguments, cwd=self.folder, MPA_CACHE=cache)


@contextmanager
def aligned(installation: Installation, folder: Path) -> Iterator[Remote]:
    pool = folder / "pool"
    pool.mkdir()
    for number in range(IMAGES):
        (pool / f"{number:03}.png").write_bytes(numbered_png(number))
    model = fake_checkpoint(folder / "teacher", skill=0.95)
    small = fake_checkpoint(folder / "student", skill=0.5)
    store = folder / "store"
    with (
        serving("teacher", folder, model=model) as teacher,
        serving("student", folder, model=small, store=store, env=SLOW_STEP) as student,
    ):
        align = ("align", pool, "--task", "vqa", "--recipe", "rehearsal", "--run", folder / "run")
        addresses = ("--teacher", teacher.address, "--student", student.address)
        cache = str(folder / "cache.sqlite")
        done = installation.run("mpa-orch", *align, *addresses, cwd=folder, MPA_CACHE=cache)
        yield Remote(installation, folder, teacher, student, done)
