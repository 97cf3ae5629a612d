"""`mpa-orch serve`, `ask`, `rollback` and `doctor`: services, outside a run's steps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from services.environment import Environment
from services.orchestrator.cli import options as o
from services.orchestrator.cli import reach
from services.orchestrator.cli.exits import exit_codes

app = typer.Typer()
PANEL = "Services and models"

ServedRole = Annotated[o.Role, typer.Argument(metavar="ROLE", help="Service to run.")]
Host = Annotated[
    str, typer.Option("--host", metavar="ADDRESS", help="Network interface to listen on.")
]
Port = Annotated[
    int,
    typer.Option(
        "--port",
        metavar="N",
        help="HTTP port. Default: 3001 (teacher) or 3000 (student).",
        show_default=False,
    ),
]
GrpcPort = Annotated[
    int,
    typer.Option(
        "--grpc-port",
        metavar="N",
        help="gRPC port. Default: 50051 (teacher) or 50052 (student).",
        show_default=False,
    ),
]
Follow = Annotated[
    bool,
    typer.Option(
        "--follow",
        help="Serve the versions of a store that another student service owns (student only).",
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        metavar="",
        help="Listen beyond this machine without keys: everybody who reaches the port may use it.",
    ),
]
Convert = Annotated[
    bool,
    typer.Option(
        "--convert",
        help="Serve the preset's checkpoint in the form that can be trained. The first start "
        "converts it, into the user's cache folder.",
    ),
]
ImageFile = Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file.")]
QuestionText = Annotated[str, typer.Argument(metavar="QUESTION", help="Question about the image.")]
StudentsRun = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN", help="Folder of the run whose student is rolled back; needs --local."
    ),
]


@app.command(rich_help_panel=PANEL)
def serve(
    role: ServedRole,
    host: Host = "127.0.0.1",
    port: Port = 0,
    grpc_port: GrpcPort = 0,
    follow: Follow = False,
    convert: Convert = False,
    insecure: Insecure = False,
) -> None:
    """Run one service in the foreground.

    The bundled model is served unless environment variables name another:
    see `mpa-orch models` and docs/services.md.
    """
    from services.orchestrator.endpoints.converted import converted, unconverted
    from services.orchestrator.endpoints.processes import (
        BENTOML_HOMES,
        bento_command,
        require_free,
        service_environment,
    )
    from services.rpc.access.settings import AccessSettings, listen_host

    is_teacher = role is o.Role.TEACHER
    if follow and is_teacher:
        raise typer.BadParameter("--follow is for a student: a teacher has no store to follow")
    port = port or (3001 if is_teacher else 3000)
    grpc_port = grpc_port or (50051 if is_teacher else 50052)
    with exit_codes():
        command = bento_command(role, port, host)
    home = BENTOML_HOMES / (f"{role}-{grpc_port}" if follow else role)
    environment = service_environment(role, grpc_port, home)
    prefix = f"MPA_{role.upper()}_"
    environment[f"{prefix}HOST"] = host
    if insecure:
        environment[f"{prefix}INSECURE"] = "1"
    if follow:
        environment["MPA_STUDENT_FOLLOW"] = "1"
    with exit_codes():
        env = Environment(prefix, environment)
        AccessSettings.from_environment(env).require_guarded(listen_host(env))
        require_free(host, port, "--port")
        require_free(host, grpc_port, "--grpc-port")
        if convert and (preset := unconverted(role)):
            typer.echo(
                f"serving the conversion of {preset.hub_id}, made at the first start", err=True
            )
            environment[f"{prefix}MODEL"] = str(converted(preset))
    os.execve(command[0], command, environment)


@app.command(rich_help_panel=PANEL)
def ask(
    image: ImageFile,
    question: QuestionText,
    student: o.Student = "",
    local: o.Local = False,
    run: o.StudentOfRun = None,
    version: o.Version = "",
    patience: o.Patience = 60.0,
) -> None:
    """Ask the student one question about one image."""
    from services.orchestrator.cli import commands, session

    where = reach.where("student", student=student, local=local, patience_s=patience)
    with exit_codes():
        typer.echo(
            session.gather(
                lambda progress: commands.ask(image, question, version, run, where, progress)
            )
        )


@app.command(rich_help_panel=PANEL)
def rollback(
    run: StudentsRun = None,
    student: o.Student = "",
    local: o.Local = False,
    patience: o.Patience = 60.0,
) -> None:
    """Make the student's previous version live again."""
    from services.orchestrator.cli import commands, session

    where = reach.where("student", student=student, local=local, patience_s=patience)
    if local and run is None:
        raise typer.BadParameter("--local needs RUN, the run whose student is rolled back")
    with exit_codes():
        pointers = session.gather(
            lambda progress: commands.rollback(run or Path(), where, progress)
        )
        typer.echo(f"live {pointers.live}, previous {pointers.previous}")


@app.command(rich_help_panel=PANEL)
def doctor(as_json: o.Json = False) -> None:
    """Check this machine: GPU, libraries, memory, disk, ports, and models that fit.

    Exit code 1 if something stands in the way of a service.
    """
    from rich.console import Console

    from services.engines.gpus import visible_gpus
    from services.engines.host_memory import machine_memory
    from services.orchestrator.doctor.devices import find_devices
    from services.orchestrator.doctor.finding import Verdict
    from services.orchestrator.doctor.libraries import find_versions, probe_torch
    from services.orchestrator.doctor.machine import find_machine
    from services.orchestrator.doctor.offers import offers
    from services.orchestrator.reports import doctor

    torch = probe_torch()
    findings = [*find_devices(torch), *find_versions(), *find_machine()]
    _, total = machine_memory()
    fitting = offers([gpu.total for gpu in visible_gpus()], total)
    if as_json:
        typer.echo(doctor.to_json(findings, fitting))
    else:
        doctor.show(findings, fitting, Console())
    if any(finding.verdict is Verdict.FAULT for finding in findings):
        raise typer.Exit(1)
