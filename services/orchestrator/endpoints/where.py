"""Where things are: the services that a command talks to, and the runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.orchestrator.endpoints.budget import Budget


@dataclass(frozen=True, slots=True)
class Where:
    """Addresses are HOST:PORT. `patience_s`: how long a service may be away.

    `is_local` starts both services here instead, `is_single_device` those without an address, in turn. `is_trial`: the
    candidate may answer everybody while it is judged. `further_teachers` vote with the teacher.
    `is_ray`: PA and PI on the Ray cluster at `ray_address` ("" is one that is started here); models without an address are
    loaded by its actors.

    `cache`: the file that keeps what a teacher says; `budget`: what asking it may cost. None for neither. `run`: the id of the
    run that pays.
    """

    teacher: str = ""
    student: str = ""
    is_local: bool = False
    patience_s: float = 60.0
    is_single_device: bool = False
    is_trial: bool = False
    cache: Path | None = None
    budget: Budget | None = None
    run: str = ""
    further_teachers: tuple[str, ...] = ()
    is_ray: bool = False
    ray_address: str = ""

    @property
    def teachers(self) -> int:
        """How many: those started here are one."""
        return 1 if self.starts("teacher") else 1 + len(self.further_teachers)

    @property
    def may_try(self) -> bool:
        """May a candidate answer before it is judged? Nobody else asks a student that the command itself has started."""
        return self.is_trial or self.starts("student")

    def starts(self, role: str) -> bool:
        """Does the command start this service itself?"""
        return self.is_local or (
            self.is_single_device and not {"teacher": self.teacher, "student": self.student}[role]
        )
