"""`mpa-orch status`, `rounds` and `matchers`: results of one run; `status` of a service, too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.core.answers import MATCHERS
from services.orchestrator.cli import options as o
from services.orchestrator.cli.exits import exit_codes
from services.orchestrator.cli.runs import list_all

app = typer.Typer()
PANEL = "Results of runs"

RunOrService = Annotated[
    str,
    typer.Argument(
        metavar="RUN|HOST:PORT",
        help="Folder of a run, or HTTP address of a service. Default: list all runs in runs/.",
        show_default=False,
    ),
]
Window = Annotated[
    float,
    typer.Option(
        "--seconds", metavar="N", min=0.1, help="Seconds over which a service's rates are measured."
    ),
]
StudentMatcher = Annotated[
    str,
    typer.Option(
        "--student-matcher",
        metavar="NAME",
        help=f"Matcher for the student's answers in every row: {', '.join(MATCHERS)}. "
        "Default: the matcher of the row.",
        callback=o.one_of(MATCHERS),
    ),
]
Disagreements = Annotated[
    bool,
    o.flag("--disagreements", help="Also show the records on which the matchers disagree."),
]


@app.command(rich_help_panel=PANEL)
def status(subject: RunOrService = "", seconds: Window = 2.0, as_json: o.Json = False) -> None:
    """Show the progress and results of a run, or the figures of a running service.

    Exit code 1 if the service is not ready.
    """
    from rich.console import Console

    from services.orchestrator.endpoints.readings import ADDRESS
    from services.orchestrator.reports import summary as report
    from services.orchestrator.run.run import read_run
    from services.orchestrator.run.summary import summarise

    if not subject:
        return list_all(as_json=as_json)
    run = Path(subject)
    if ADDRESS.fullmatch(subject) and not run.exists():
        return _show_service(subject, seconds, as_json=as_json)
    with exit_codes(), read_run(run) as opened:
        summary = summarise(opened.ledger)
        if as_json:
            typer.echo(report.to_json(summary))
        else:
            report.show(summary, Console())


def _show_service(address: str, seconds: float, *, as_json: bool) -> None:
    from rich.console import Console

    from services.orchestrator.endpoints.readings import read_figures
    from services.orchestrator.reports import service as report

    with exit_codes():
        found = read_figures(address, seconds)
    if as_json:
        typer.echo(report.to_json(found))
    else:
        report.show(found, Console())
    if not found.is_ready:
        raise typer.Exit(1)


@app.command(name="rounds", rich_help_panel=PANEL)
def show_rounds(run: o.RunFolder, as_json: o.Json = False) -> None:
    """Show the rounds of a run: the gap that each found, its version and its gain."""
    from rich.console import Console

    from services.orchestrator.reports import rounds as rounds_report
    from services.orchestrator.run.run import read_run
    from services.orchestrator.run.summary import summarise

    with exit_codes(), read_run(run) as opened:
        summary = summarise(opened.ledger)
        if as_json:
            typer.echo(rounds_report.to_json(summary.rounds, summary.stopped))
        else:
            rounds_report.show(summary.rounds, summary.stopped, Console())


@app.command(rich_help_panel=PANEL)
def matchers(
    run: o.RunFolder,
    student_matcher: StudentMatcher = "",
    disagreements: Disagreements = False,
    limit: o.PageSize = 20,
    page: o.Page = 1,
    as_json: o.Json = False,
) -> None:
    """Compare the matchers: number of records that each would put into each cell.

    Answers are read from the run; no model is asked.
    """
    from rich.console import Console

    from services.orchestrator.reports import runs as runs_report
    from services.orchestrator.run.matching import compare_matchers, rules
    from services.orchestrator.run.progress import Progress
    from services.orchestrator.run.run import read_run

    with exit_codes(), read_run(run) as opened, Progress(Console(stderr=True)) as progress:
        shown = limit if disagreements else 0
        sides = compare_matchers(
            opened, rules(opened, student_matcher), progress, shown, limit * (page - 1)
        )
        runs_report.show_matchers(sides, Console(), as_json=as_json)
