"""`mpa-orch runs`: the runs there are, what is in them, how two differ, and an end to one; and `mpa-orch matchers`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from services.orchestrator.cli import options as o
from services.orchestrator.cli.exits import exit_codes
from services.orchestrator.run import RUNS

app = typer.Typer(
    help="The runs there are: list, show, compare, export, delete.", no_args_is_help=True
)


@app.command(name="list")
def list_all(folder: o.RunsFolder = RUNS, as_json: o.Json = False) -> None:
    """All runs below a folder: state, size, gain."""
    from rich.console import Console

    from services.orchestrator.reports import runs as runs_report
    from services.orchestrator.run import listing

    with exit_codes():
        runs_report.show_list(listing.list_runs(folder), folder, Console(), as_json=as_json)


@app.command()
def show(
    run: o.RunFolder,
    cell: o.Cells = None,
    rejected: o.Rejected = "",
    question: o.QuestionText = "",
    limit: o.PageSize = 20,
    page: o.Page = 1,
    as_json: o.Json = False,
) -> None:
    """The records of a run, a page at a time, each with its reasons: what was asked, who answered what, what came of it."""
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
    second: o.OtherRun,
    limit: o.PageSize = 20,
    page: o.Page = 1,
    as_json: o.Json = False,
) -> None:
    """What differs between two runs: settings, cells, gains, and the records that are in another cell."""
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
    form: o.FormatName,
    output: o.Output,
    cell: o.Cells = None,
    everything: o.Everything = False,
) -> None:
    """Writes the parity set (or what --cell or --all say) in a format that other tools read."""
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
def delete(run: o.RunFolder, yes: o.YesDelete = False) -> None:
    """Deletes a run: ledger, parity set, logs, and the versions of a student that it has started."""
    from services.orchestrator.reports import runs as runs_report
    from services.orchestrator.run import listing

    with exit_codes():
        listing.require_deletable(run)
        if not yes and not sys.stdin.isatty():
            raise typer.BadParameter("nobody is there to be asked: give --yes")
        typer.echo(runs_report.line(listing.describe(run)), err=True)
        if not yes:
            typer.confirm(f"Delete {run} with all that is in it?", abort=True, err=True)
        listing.delete(run)


def matchers(
    run: o.RunFolder,
    student_matcher: o.StudentMatcher = "",
    disagreements: o.Disagreements = False,
    limit: o.PageSize = 20,
    page: o.Page = 1,
    as_json: o.Json = False,
) -> None:
    """How many samples each matcher puts into each cell, from the answers that a run has: no model is asked."""
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


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """As by Ctrl-C, so that nothing half-written stays behind then either."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
