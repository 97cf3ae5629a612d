"""Where the models of an experiment run: at the addresses that they are given, else here, for as long as they are needed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.core.errors import InvalidInput
from services.orchestrator.endpoints.processes import local_services
from services.orchestrator.endpoints.where import Where
from services.orchestrator.experiments.plan import SERVICES
from services.orchestrator.in_turn import takes_a_device
from services.orchestrator.run.progress import Progress


@dataclass(frozen=True, slots=True)
class Site:
    """`teachers` and `students`: HOST:PORT by the name of the model; those without are started below `out`.

    `settings`: by model, as Experiment has them. `is_single_device`: one model is in memory at a time. `cache`, `is_ray`,
    `ray_address`, `patience_s`: as in Where.
    """

    out: Path
    teachers: Mapping[str, str] = field(default_factory=dict)
    students: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    is_single_device: bool = False
    is_ray: bool = False
    ray_address: str = ""
    cache: Path | None = None
    patience_s: float = 60.0

    def takes_turns(self, teacher: str) -> bool:
        """Has the teacher to leave the device before a student is loaded?"""
        return (
            self.is_single_device
            and teacher not in self.teachers
            and takes_a_device(Where(), self._variables(teacher))
        )

    @asynccontextmanager
    async def up(
        self, progress: Progress, *, teacher: str = "", student: str = "", is_serving: bool = True
    ) -> AsyncIterator[Where]:
        """The models named, at their addresses. A student that is not `is_serving` loads no version, and only trains."""
        named = {"teacher": teacher, "student": student}
        at = {"teacher": self.teachers.get(teacher, ""), "student": self.students.get(student, "")}
        started = [role for role, name in named.items() if name and not at[role]]
        environment = {} if is_serving else {"MPA_STUDENT_SERVE": "0"}
        for role in started:
            environment |= _environment(role, named[role], self.settings.get(named[role], {}))
        async with local_services(
            self.out / SERVICES / (student or teacher), started, progress, environment
        ) as here:
            yield Where(
                here.teacher or at["teacher"],
                here.student or at["student"],
                patience_s=self.patience_s,
                cache=self.cache,
                is_ray=self.is_ray,
                ray_address=self.ray_address,
            )

    def _variables(self, teacher: str) -> dict[str, str]:
        return {**os.environ, **_environment("teacher", teacher, self.settings.get(teacher, {}))}


def _environment(role: str, name: str, settings: Mapping[str, str]) -> dict[str, str]:
    """What the caller's environment names as the model is of no use here: there are several."""
    prefix = f"MPA_{role.upper()}_"
    return {
        f"{prefix}PRESET": name,
        f"{prefix}MODEL": "",
        **{f"{prefix}{key}": value for key, value in settings.items()},
    }


def addresses(role: str, given: Sequence[str], names: Collection[str]) -> dict[str, str]:
    """ "NAME=HOST:PORT" by name; the name may be left out where there is one model. Raises InvalidInput."""
    found: dict[str, str] = {}
    for text in given:
        name, _, address = text.rpartition("=")
        name = name or (next(iter(names)) if len(names) == 1 else "")
        if name not in names or not address:
            raise InvalidInput(
                f"--{role} {text}: say which of the {role}s is there, as NAME=HOST:PORT with one of {', '.join(names)}",
                field=role,
            )
        if name in found:
            raise InvalidInput(
                f"--{role} {name} is named twice: one address may be several replicas (ipv4:HOST:PORT,HOST:PORT)"
            )
        found[name] = address
    return found
