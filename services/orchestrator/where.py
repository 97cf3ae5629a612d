"""Where things are: the services that a command talks to, and the runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RUNS = Path("runs")


@dataclass(frozen=True, slots=True)
class Where:
    """Addresses are HOST:PORT; `is_local` starts the bundled pair instead. `patience_s`: how long a service may be away."""

    teacher: str = ""
    student: str = ""
    is_local: bool = False
    patience_s: float = 60.0
