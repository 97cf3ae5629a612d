"""`mpa-orch experiment`: arms, students, teachers, tasks and seeds from one file, and the tables that come of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.core.errors import MpaError
from services.orchestrator.cli import options as o
from services.orchestrator.cli import reach
from services.orchestrator.cli.exits import again, exit_codes

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="What is compared (TOML): experiments/ has the paper's tables."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Results. Experiments with one folder share what they have in common. Default: runs/FILE.",
    ),
]
Data = Annotated[
    Path,
    typer.Option(
        "--data", metavar="DIR", help="Where the file's relative paths start.", show_default=True
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the plan with its counts, and spend nothing.")
]
Teachers = Annotated[
    list[str] | None,
    typer.Option(
        "--teacher",
        metavar="NAME=HOST:PORT",
        help="The service of that teacher.",
        rich_help_panel="Services",
    ),
]
Students = Annotated[
    list[str] | None,
    typer.Option(
        "--student",
        metavar="NAME=HOST:PORT",
        help="The service of that student.",
        rich_help_panel="Services",
    ),
]
Local = Annotated[
    bool,
    typer.Option(
        "--local",
        help="Start those without an address here, when they are needed.",
        rich_help_panel="Services",
    ),
]


def experiment(
    file: File,
    out: Out = None,
    data: Data = Path(),
    dry_run: DryRun = False,
    teacher: Teachers = None,
    student: Students = None,
    local: Local = False,
    single_device: o.SingleDevice = False,
    engine: o.EngineOption = o.Engine.LOCAL,
    ray_address: o.RayAddress = "",
    no_cache: o.NoCache = False,
    patience: o.Patience = 60.0,
) -> None:
    """Everything that a file compares, up to its tables and figures. Repeat the same command to resume."""
    from rich.console import Console

    from services.orchestrator.cli import session
    from services.orchestrator.experiments import flow, plan, report
    from services.orchestrator.experiments.file import read_experiment
    from services.orchestrator.experiments.site import Site, addresses
    from services.orchestrator.run import RUNS
    from services.orchestrator.run.run import locked

    with exit_codes(again()):
        asked = read_experiment(file, data)
        folder = out or RUNS / asked.name
        if dry_run:
            report.show_plan(plan.lines(asked, folder), Console())
            return
        at = {
            "teacher": addresses("teacher", teacher or (), asked.teachers),
            "student": addresses("student", student or (), asked.students),
        }
        missing = [
            f"--{role} {name}=HOST:PORT"
            for role, names in (("teacher", asked.teachers), ("student", asked.students))
            for name in names
            if name not in at[role]
        ]
        if missing and not (local or single_device):
            raise typer.BadParameter(
                f"say where the models are: {' '.join(missing)}, or --local to start them here"
            )
        if engine is o.Engine.RAY and single_device:
            raise typer.BadParameter(
                "--engine ray has the models up side by side: leave out --single-device"
            )
        site = Site(
            *(folder, at["teacher"], at["student"], asked.settings, single_device),
            *(engine is o.Engine.RAY, ray_address, reach.cache(no_cache), patience),
        )
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            try:
                session.gather(lambda progress: flow.work(asked, site, progress))
            except MpaError:
                report.write(asked, folder)  # what there is so far
                raise
            written = report.write(asked, folder)
        typer.echo("\n".join([*written, f"results      {folder}"]))
