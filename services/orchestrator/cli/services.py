"""`mpa-orch rollback`, `ask`, `models` and `serve`: one service, outside the steps of a run."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from services.orchestrator.cli import options as o
from services.orchestrator.cli.exits import exit_codes
from services.orchestrator.cli.reach import services as _where


def rollback(
    run: o.LocalRun = None,
    student: o.Student = "",
    local: o.Local = False,
    patience: o.Patience = 60.0,
) -> None:
    """The student's previous version becomes live again."""
    from services.orchestrator.cli import commands, session

    where = _where("", student, local, patience, "student")
    if local and run is None:
        raise typer.BadParameter("--local needs the RUN whose student is to go back")
    with exit_codes():
        pointers = session.gather(
            lambda progress: commands.rollback(run or Path(), where, progress)
        )
        typer.echo(f"live {pointers.live}, previous {pointers.previous}")


def ask(
    image: Path,
    question: str,
    student: o.Student = "",
    local: o.Local = False,
    run: o.OfRun = None,
    version: o.Version = "",
    patience: o.Patience = 60.0,
) -> None:
    """The student answers one question about one image."""
    from services.orchestrator.cli import commands, session

    where = _where("", student, local, patience, "student")
    with exit_codes():
        typer.echo(
            session.gather(
                lambda progress: commands.ask(image, question, version, run, where, progress)
            )
        )


def models(name: o.ModelName = "", role: o.RoleOption = None, as_json: o.Json = False) -> None:
    """The models known by name: what they need, and the command that starts a service with one."""
    from rich.console import Console

    from services.core.presets import find_preset
    from services.orchestrator.reports import models

    with exit_codes():
        chosen = [find_preset(name, role or "")] if name else models.listed(role or "")
        if as_json:
            typer.echo(models.to_json(chosen))
        elif name:
            models.show(chosen[0], Console())
        else:
            models.show_all(chosen, Console())


def serve(
    role: o.Role,
    host: o.Host = "127.0.0.1",
    port: o.Port = 0,
    grpc_port: o.GrpcPort = 0,
) -> None:
    """Runs one service in the foreground, with the bundled model unless the environment names another (`mpa-orch models`)."""
    from services.orchestrator.endpoints.processes import (
        BENTOML_HOMES,
        bento_command,
        service_environment,
    )

    is_teacher = role is o.Role.TEACHER
    with exit_codes():
        command = bento_command(role, port or (3001 if is_teacher else 3000), host)
    environment = service_environment(
        role, grpc_port or (50051 if is_teacher else 50052), BENTOML_HOMES / role
    )
    environment[f"MPA_{role.upper()}_HOST"] = host
    os.execve(command[0], command, environment)
