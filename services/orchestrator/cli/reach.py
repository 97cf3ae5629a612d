"""From the options of a command to where its services, its cache and its run are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer

from services.core.errors import InvalidInput
from services.orchestrator.endpoints.where import Where
from services.orchestrator.run import RUNS


def teachers(task: str, named: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """The first teacher of the task, "" where there is none, and the others. Raises a usage error."""
    from services.orchestrator.endpoints.panel import addresses_for

    try:
        first, *further = addresses_for(task, named or ()) or ("",)
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from None
    return first, tuple(further)


def task_of(run: Path) -> str:
    """ "" where there is no run yet, which the command tells by itself."""
    from services.orchestrator.run.run import settings_of

    settings = settings_of(run)
    return settings.task if settings else ""


def services(teacher: str, student: str, local: bool, patience_s: float, *roles: str) -> Where:
    """Raises a usage error where a service has neither an address nor --local."""
    given = {"teacher": teacher, "student": student}
    if not local and not all(given[role] for role in roles):
        options = " and ".join(f"--{role} HOST:PORT" for role in roles)
        raise typer.BadParameter(
            f"say where the services are: {options}, or --local to start the bundled pair here"
        )
    return Where(teacher, student, local, patience_s)


def one_device(teacher: str, student: str, patience_s: float) -> Where:
    """Raises a usage error where the student has an address."""
    if student:
        raise typer.BadParameter(
            "--single-device starts the student here: leave out --student (and MPA_STUDENT)"
        )
    return Where(teacher, patience_s=patience_s, is_single_device=True)


def cluster(where: Where, is_ray: bool, address: str, has_limits: bool) -> Where:
    """Raises a usage error for what only the local engine does."""
    if is_ray and where.is_single_device:
        raise typer.BadParameter(
            "--engine ray has the models up side by side: leave out --single-device"
        )
    if is_ray and has_limits:
        raise typer.BadParameter(
            "--budget and --max-hours are of the local engine: leave them out with --engine ray"
        )
    return replace(where, is_ray=is_ray, ray_address=address)


def cache(is_off: bool) -> Path | None:
    """The file; None where it is off."""
    from services.orchestrator.endpoints.cache import cache_file

    return None if is_off else cache_file()


def new_folder(task: str) -> Path:
    """Of a run that nobody has named."""
    return RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{task}"
