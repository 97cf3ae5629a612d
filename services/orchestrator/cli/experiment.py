"""`mpa-orch experiment`: from one file to tables that compare arms, models, tasks and seeds."""

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
        metavar="FILE",
        help="Description of the comparison (TOML). "
        "Files in experiments/ repeat the paper's tables.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder of the results. Experiments in the same folder share their common parts. "
        "Default: runs/NAME, with the experiment's name.",
    ),
]
Data = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder that relative paths in FILE start from.",
        show_default=True,
    ),
]
DryRun = Annotated[bool, o.flag("--dry-run", help="Show the plan with its counts, and stop.")]
Teachers = Annotated[
    list[str] | None,
    typer.Option(
        "--teacher",
        metavar="NAME=HOST:PORT",
        help="Address of the service of teacher NAME. Can be repeated.",
    ),
]
Students = Annotated[
    list[str] | None,
    typer.Option(
        "--student",
        metavar="NAME=HOST:PORT",
        help="Address of the service of student NAME. Can be repeated.",
    ),
]
Local = Annotated[
    bool,
    o.flag(
        "--local",
        help="Start services without an address on this machine, when they are needed.",
    ),
]

app = typer.Typer()


@app.command(rich_help_panel=o.EXPERIMENTS)
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
    """Run the comparison that a file describes, up to its tables and figures.

    Repeat the same command to resume.
    """
    from rich.console import Console

    from services.orchestrator.cli import session
    from services.orchestrator.experiments import flow, plan, report
    from services.orchestrator.experiments.file import read_experiment
    from services.orchestrator.experiments.site import Site, addresses
    from services.orchestrator.experiments.uses import DrawUses
    from services.orchestrator.reports.experiments import show_plan
    from services.orchestrator.run import RUNS
    from services.orchestrator.run.run import locked

    with exit_codes(again()):
        asked = read_experiment(file, data)
        folder = out or RUNS / asked.name
        DrawUses(asked, folder).require_no_choice()  # before a report is replaced
        if dry_run:
            show_plan(plan.lines(asked, folder), Console())
            return
        teachers = addresses("teacher", teacher or (), asked.teachers)
        students = addresses("student", student or (), asked.students)
        missing = [f"--teacher {name}=HOST:PORT" for name in asked.teachers if name not in teachers]
        missing += [
            f"--student {name}=HOST:PORT" for name in asked.students if name not in students
        ]
        if missing and not (local or single_device):
            raise typer.BadParameter(
                f"name the services: {' '.join(missing)}, or --local to start them here"
            )
        site = Site(
            folder,
            teachers=teachers,
            students=students,
            settings=asked.settings,
            is_single_device=single_device,
            is_ray=reach.is_on_ray(engine, single_device=single_device),
            ray_address=ray_address,
            cache=reach.cache(no_cache),
            patience_s=patience,
        )
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            try:
                session.gather(lambda progress: flow.work(asked, site, progress))
            except MpaError:
                report.write(asked, folder)  # the results so far
                raise
            written = report.write(asked, folder)
        typer.echo("\n".join([*written, f"results      {folder}"]))
