"""Options of a command become the places of its services, its cache and its run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import typer

from services.core.errors import InvalidInput
from services.orchestrator.cli.options import Engine
from services.orchestrator.endpoints.where import Where
from services.orchestrator.run import RUNS


def where(
    *roles: str,
    task: str = "",
    teachers: Sequence[str] | None = None,
    student: str = "",
    local: bool = False,
    single_device: bool = False,
    is_ray: bool = False,
    ray_address: str = "",
    trial: bool = False,
    cache: Path | None = None,
    patience_s: float,
) -> Where:
    """Places of the services in `roles`. Raises a usage error if one has no place."""
    first, *further = _addresses(task, teachers) if teachers else [""]
    if single_device and student:
        raise typer.BadParameter(
            "--single-device starts the student here: leave out --student (and MPA_STUDENT)"
        )
    given = {"teacher": first, "student": student}
    if not (local or single_device) and not all(given[role] for role in roles):
        options = " and ".join(f"--{role} HOST:PORT" for role in roles)
        raise typer.BadParameter(
            f"name the services: {options}, or --local to start the bundled pair here"
        )
    return Where(
        first,
        student,
        is_local=local and not single_device,
        patience_s=patience_s,
        is_single_device=single_device,
        is_trial=trial,
        cache=cache,
        further_teachers=tuple(further),
        is_ray=is_ray,
        ray_address=ray_address,
    )


def _addresses(task: str, named: Sequence[str]) -> Sequence[str]:
    """Addresses of the task's teachers, "" if it has none. Raises a usage error."""
    from services.orchestrator.endpoints.panel import addresses_for

    try:
        return addresses_for(task, named) or ("",)
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from None


def task_of(run: Path) -> str:
    """The task of a run; "" if there is no run yet, which the command reports by itself."""
    from services.orchestrator.run.run import settings_of

    settings = settings_of(run)
    return settings.task if settings else ""


def is_on_ray(engine: Engine, *, single_device: bool, has_limits: bool = False) -> bool:
    """Is it --engine ray? Raises a usage error if so, with options of the local engine."""
    if engine is Engine.LOCAL:
        return False
    if single_device:
        raise typer.BadParameter(
            "--engine ray loads both models at the same time: leave out --single-device"
        )
    if has_limits:
        raise typer.BadParameter(
            "--budget and --max-hours need the local engine: leave them out with --engine ray"
        )
    return True


def cache(is_off: bool) -> Path | None:
    """The cache's file; None if the cache is off."""
    from services.orchestrator.endpoints.cache import cache_file

    return None if is_off else cache_file()


def new_folder(task: str) -> Path:
    """The folder of a run without --run."""
    return RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{task}"
