"""Where the models of an experiment run: at given addresses, else started here while needed."""

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
    """The machines and settings that an experiment's models run with."""

    out: Path
    """Folder of the results, and of the services that are started."""
    teachers: Mapping[str, str] = field(default_factory=dict)
    """HOST:PORT by teacher; the others are started here."""
    students: Mapping[str, str] = field(default_factory=dict)
    """HOST:PORT by student; the others are started here."""
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Settings of started services by model (see Experiment)."""
    is_single_device: bool = False
    """Keep one model in memory at a time."""
    is_ray: bool = False
    """Run the models as actors of a Ray cluster (see Where)."""
    ray_address: str = ""
    """Address of the Ray cluster (see Where)."""
    cache: Path | None = None
    """File of the teacher cache; None for no cache (see Where)."""
    patience_s: float = 60.0
    """Seconds to wait for an unreachable service (see Where)."""

    def takes_turns(self, teacher: str) -> bool:
        """Must the teacher leave the device before a student is loaded?"""
        return (
            self.is_single_device
            and teacher not in self.teachers
            and takes_a_device(Where(), self._variables(teacher))
        )

    @asynccontextmanager
    async def up(
        self, progress: Progress, *, teacher: str = "", student: str = "", is_serving: bool = True
    ) -> AsyncIterator[Where]:
        """The models named, at their addresses. A student that isn't `is_serving` only trains."""
        named = {"teacher": teacher, "student": student}
        at = {"teacher": self.teachers.get(teacher, ""), "student": self.students.get(student, "")}
        started = [role for role, name in named.items() if name and not at[role]]
        environment = {} if is_serving else {"MPA_STUDENT_SERVE": "0"}
        for role in started:
            environment |= _environment(role, named[role], self.settings.get(named[role], {}))
        folder = self.out / SERVICES / (student or teacher)
        async with local_services(folder, started, progress, environment) as here:
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
    """Settings of a started service; they override the caller's model, since there are several."""
    prefix = f"MPA_{role.upper()}_"
    return {
        f"{prefix}PRESET": name,
        f"{prefix}MODEL": "",
        **{f"{prefix}{key}": value for key, value in settings.items()},
    }


def addresses(role: str, given: Sequence[str], names: Collection[str]) -> dict[str, str]:
    """Addresses by model from NAME=HOST:PORT; HOST:PORT will do for a single model.

    Raises InvalidInput.
    """
    found: dict[str, str] = {}
    for text in given:
        name, _, address = text.rpartition("=")
        name = name or (next(iter(names)) if len(names) == 1 else "")
        if name not in names or not address:
            raise InvalidInput(
                f"--{role} {text}: name the {role} at that address, as NAME=HOST:PORT "
                f"with one of {', '.join(names)}",
                field=role,
            )
        if name in found:
            raise InvalidInput(
                f"--{role} {name} is named twice: one address may be several replicas "
                "(ipv4:HOST:PORT,HOST:PORT)"
            )
        found[name] = address
    return found
