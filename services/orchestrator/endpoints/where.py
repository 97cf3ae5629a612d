"""Places of the services that a command uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.orchestrator.endpoints.budget import Budget


@dataclass(frozen=True, slots=True)
class Where:
    """Choice of the services, the cache and the budget of a command."""

    teacher: str = ""
    """HOST:PORT, as of every service; "" if the command starts it or doesn't use it."""
    student: str = ""
    is_local: bool = False
    """Start both services here."""
    patience_s: float = 60.0
    """Seconds that a service may be unreachable."""
    is_single_device: bool = False
    """Start the services without an address here, in turn."""
    is_trial: bool = False
    """Let the candidate answer everybody while it is judged."""
    cache: Path | None = None
    """File of the teacher's replies; None for no cache."""
    budget: Budget | None = None
    """Limits of what the teacher may cost; None for no limits."""
    run: str = ""
    """Id of the run that pays."""
    further_teachers: tuple[str, ...] = ()
    """Addresses of teachers that vote with the first one."""
    is_ray: bool = False
    """Annotate and identify on a Ray cluster; its actors load models without an address."""
    ray_address: str = ""
    """Address of the cluster; "" starts one here."""

    @property
    def teachers(self) -> int:
        """Number of teachers. Services that the command starts include one teacher."""
        return 1 if self.starts("teacher") else 1 + len(self.further_teachers)

    @property
    def may_try(self) -> bool:
        """Whether a candidate may answer before it is judged.

        It may if the command itself has started the student, since nobody else asks it.
        """
        return self.is_trial or self.starts("student")

    def starts(self, role: str) -> bool:
        """Whether the command starts this service itself."""
        address = self.teacher if role == "teacher" else self.student
        return self.is_local or (self.is_single_device and not address)
