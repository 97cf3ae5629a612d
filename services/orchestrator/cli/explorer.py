"""`mpa-orch ui`: the runs of a folder in a browser. `mpa-orch report`: a run as one file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from services.core import extras
from services.orchestrator.cli import options as o
from services.orchestrator.cli.exits import exit_codes
from services.orchestrator.cli.results import PANEL
from services.orchestrator.run import RUNS

app = typer.Typer()

RunsFolder = Annotated[Path, typer.Argument(metavar="RUNS", help="Folder of the runs.")]
Host = Annotated[
    str, typer.Option("--host", metavar="ADDRESS", help="Network interface to listen on.")
]
Port = Annotated[
    int,
    typer.Option(
        "--port", metavar="N", min=0, max=65535, help="HTTP port; 0 takes one that is free."
    ),
]
AllowRemote = Annotated[
    bool,
    o.flag(
        "--allow-remote",
        help="Listen beyond this machine: everybody who reaches the port sees the images, "
        "questions and answers of all runs, and may review them. There is no password.",
    ),
]
Target = Annotated[
    Path | None,
    typer.Argument(
        metavar="OUT.html", help="New file. Default: the run's name, here.", show_default=False
    ),
]
Records = Annotated[
    int,
    typer.Option(
        "--records",
        metavar="N",
        min=1,
        max=1000,
        help="Most records of each cell and of each reason of rejection.",
    ),
]
Force = Annotated[bool, o.flag("--force", help="Replace OUT.html if it exists.")]


@app.command(rich_help_panel=PANEL)
def ui(
    runs: RunsFolder = RUNS,
    host: Host = "127.0.0.1",
    port: Port = 8600,
    allow_remote: AllowRemote = False,
) -> None:
    """Show runs in a browser: cells, rejections, kinds of questions, every record; review them.

    Runs stay as they are, but each gets a file explorer.sqlite, by which records are found fast,
    and a file reviews.sqlite if people review its records.
    """
    with exit_codes(), suppress(KeyboardInterrupt):
        _require_libraries("mpa-orch ui")
        from services.orchestrator.ui.listening import serve

        serve(runs, host, port, _announce, allow_remote=allow_remote)


@contextmanager
def watched(folder: Path | None) -> Iterator[None]:
    """Serves the page of the run in `folder`, in another process, and prints its address.

    None serves nothing. Raises MpaError: the page can't be served.
    """
    if folder is None:
        yield
        return
    _require_libraries("mpa-orch align --ui")
    from services.core.errors import MpaError

    folder = folder.absolute()
    command = [sys.executable, "-m", "services.orchestrator.cli.main", "ui"]
    tied = [sys.executable, "-m", "services.orchestrator.endpoints.die_with_parent"]
    process = subprocess.Popen(
        [*tied, str(os.getpid()), *command, str(folder.parent), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the run, whose end is shown, too
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().partition(" ")[0].strip()
        if not address:
            raise MpaError("the page of --ui can't be served: align without it")
        typer.echo(f"page         {address}/{quote(folder.name, safe='')}/live", err=True)
        yield
    finally:
        process.terminate()
        process.wait()


def _require_libraries(what: str) -> None:
    for library in ("starlette", "uvicorn", "jinja2"):
        extras.require(library, "ui", what)


def _announce(address: str) -> None:
    typer.echo(f"{address}  (Ctrl-C ends)")


@app.command(rich_help_panel=PANEL)
def report(
    run: o.RunFolder, target: Target = None, records: Records = 60, force: Force = False
) -> None:
    """Write a run as one HTML file to mail: cells, kinds of questions, records with images.

    It has the pages of mpa-orch ui, and loads nothing from elsewhere. Records are a sample.
    """
    from rich.console import Console

    from services.orchestrator.run.progress import Progress

    with exit_codes():
        for library in ("starlette", "jinja2"):
            extras.require(library, "ui", "mpa-orch report")
        from services.orchestrator.ui.single_file import write_report

        target = target or Path(f"{run.resolve().name}.html")
        with Progress(Console(stderr=True)) as progress:
            write_report(run, target, progress, most=records, replaces=force)
        typer.echo(f"{target}  ({target.stat().st_size / 2**20:.1f} MiB)")
