"""`mpa-orch runs`: list, show, compare, export and delete runs; read corrections."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from services.core.annotation import Rejection
from services.core.parity import Cell
from services.orchestrator.cli import options as o
from services.orchestrator.cli.exits import exit_codes
from services.orchestrator.exports import ExportFormat
from services.orchestrator.run import RUNS

app = typer.Typer(no_args_is_help=True)

RunsFolder = Annotated[
    Path, typer.Argument(metavar="DIR", help="Folder of the runs.", show_default=True)
]
OtherRun = Annotated[
    Path, typer.Argument(metavar="RUN2", help="Folder of the run to compare it with.")
]
Cells = Annotated[
    list[Cell] | None,
    typer.Option(
        "--cell",
        metavar="CELL",
        help=f"Only records in CELL: {', '.join(Cell)}. Can be repeated.",
    ),
]
Rejected = Annotated[
    str,
    typer.Option(
        "--rejected",
        metavar="REASON",
        help='Only records rejected for REASON ("image": refused images). '
        f"Reasons: {', '.join(Rejection)}.",
    ),
]
QuestionText = Annotated[
    str,
    typer.Option(
        "--question",
        metavar="TEXT",
        help="Only records whose question contains TEXT (case-insensitive).",
    ),
]
FormatName = Annotated[
    ExportFormat,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help=f"Format of the export: {', '.join(ExportFormat)} (docs/exports.md).",
    ),
]
Everything = Annotated[
    bool,
    o.flag(
        "--all",
        help="Every record; rejected ones, too, if the format has a field for the reason.",
    ),
]
LabelStudioExport = Annotated[
    Path,
    typer.Argument(metavar="EXPORT.json", help="Reviewed tasks, exported by Label Studio as JSON."),
]
ReviewedRun = Annotated[
    Path | None,
    typer.Option(
        "--run", metavar="RUN", help="Folder of the run that was exported; it keeps the reviews."
    ),
]
CorrectionsFile = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="New file, one JSON object for each review."),
]
TrackingUri = Annotated[
    str,
    typer.Option(
        "--to",
        envvar="MLFLOW_TRACKING_URI",
        metavar="URI",
        help="MLflow's store: sqlite:///mlflow.db, or the address of a server.",
    ),
]
ExperimentName = Annotated[
    str, typer.Option("--experiment", metavar="NAME", help="Experiment in MLflow.")
]
YesDelete = Annotated[bool, o.flag("--yes", "-y", help="Delete without asking for confirmation.")]


@app.command(name="list")
def list_all(folder: RunsFolder = RUNS, as_json: o.Json = False) -> None:
    """List the runs in a folder: state, size, gain."""
    from rich.console import Console

    from services.orchestrator.reports import runs as runs_report
    from services.orchestrator.run import listing

    with exit_codes():
        runs_report.show_list(listing.list_runs(folder), folder, Console(), as_json=as_json)


@app.command()
def show(
    run: o.RunFolder,
    cell: Cells = None,
    rejected: Rejected = "",
    question: QuestionText = "",
    limit: o.PageSize = 20,
    page: o.Page = 1,
    as_json: o.Json = False,
) -> None:
    """Show the records of a run, page by page: question, answers, cell, reason."""
    from rich.console import Console

    from services.orchestrator.reports import runs as runs_report
    from services.orchestrator.run.entries import read_entries
    from services.orchestrator.run.ledger.search import Filter
    from services.orchestrator.run.run import read_run

    with exit_codes(), read_run(run) as opened:
        chosen = Filter(tuple(cell or ()), rejected, question)
        found = list(read_entries(opened.ledger, chosen, limit + 1, limit * (page - 1)))
        runs_report.show_entries(found[:limit], opened.settings, Console(), as_json=as_json)
        if len(found) > limit:
            typer.echo(f"more: --page {page + 1}", err=True)


@app.command()
def compare(
    first: o.RunFolder,
    second: OtherRun,
    limit: o.PageSize = 20,
    page: o.Page = 1,
    as_json: o.Json = False,
) -> None:
    """Compare two runs: settings, cells, gains, and the records whose cell differs."""
    from rich.console import Console

    from services.orchestrator.reports import runs as runs_report
    from services.orchestrator.run.comparison import compare_runs
    from services.orchestrator.run.run import read_run

    with exit_codes(), read_run(first) as one, read_run(second) as other:
        compared = compare_runs(one, other, limit, limit * (page - 1))
        runs_report.show_comparison(compared, Console(), as_json=as_json)


@app.command()
def export(
    run: o.RunFolder,
    form: FormatName,
    output: o.Output,
    cell: Cells = None,
    everything: Everything = False,
) -> None:
    """Write the parity set for other tools; with --cell or --all, other records."""
    from rich.console import Console

    from services.orchestrator.exports.export import export
    from services.orchestrator.exports.samples import choose
    from services.orchestrator.run.progress import Progress
    from services.orchestrator.run.run import read_run

    with exit_codes(), _ended_by_sigterm(), read_run(run) as opened:
        with Progress(Console(stderr=True)) as progress:
            count = export(opened, choose(cell or [], everything), form, output, progress)
        typer.echo(f"{count:,} records in {output}")


@app.command()
def corrections(
    reviewed: LabelStudioExport, run: ReviewedRun = None, output: CorrectionsFile = None
) -> None:
    """Read what people decided in Label Studio: as reviews of a run, as a file, or both.

    A run's reviews are those of `mpa-orch ui`; `--reviewed` trains on them.
    """
    from collections import Counter

    from services.orchestrator.exports.imported_reviews import import_reviews
    from services.orchestrator.exports.reviewed_tasks import read_corrections, write_corrections
    from services.orchestrator.reports import reviewing
    from services.orchestrator.run.run import read_run

    if run is None and output is None:
        raise typer.BadParameter("give the run that was reviewed with --run, or a file: --output")
    with exit_codes():
        found = read_corrections(reviewed)
        if run is not None:
            with read_run(run) as opened:
                imported = import_reviews(opened, found)
            for line in reviewing.imported(imported, run):
                typer.echo(line)
        if output is not None:
            write_corrections(found, output)
            counts = Counter(str(each.verdict) for each in found)
            typer.echo(f"{len(found):,} reviews in {output}{reviewing.listed(counts)}")


@app.command()
def track(run: o.RunFolder, uri: TrackingUri, experiment: ExperimentName = "mpa") -> None:
    """Write a run to MLflow: settings, figures by round, summary; again, it is replaced."""
    from services.orchestrator.exports.tracking import track
    from services.orchestrator.run.run import read_run

    with exit_codes(), read_run(run) as opened:
        typer.echo(f"run {track(opened, uri, experiment)} of experiment {experiment} at {uri}")


@app.command()
def delete(run: o.RunFolder, yes: YesDelete = False) -> None:
    """Delete a run: ledger, parity set, logs, and versions of a student that it started."""
    from services.orchestrator.reports import runs as runs_report
    from services.orchestrator.run import listing

    with exit_codes():
        listing.require_deletable(run)
        if not yes and not sys.stdin.isatty():
            raise typer.BadParameter("there is no terminal to ask for confirmation: give --yes")
        typer.echo(runs_report.line(listing.describe(run)), err=True)
        if not yes:
            typer.confirm(f"Delete {run} and everything in it?", abort=True, err=True)
        listing.delete(run)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM acts like Ctrl-C, so that nothing half-written is left behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
