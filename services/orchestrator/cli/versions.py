"""`mpa-orch versions`: the versions on a student's disk, and the services that follow it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from services.orchestrator.cli import options as o
from services.orchestrator.cli import reach
from services.orchestrator.cli.exits import exit_codes
from services.orchestrator.endpoints.where import Where
from services.orchestrator.exports import ModelFormat

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="VERSION", help="Name of the version, such as v2.")]
Target = Annotated[Path, typer.Argument(metavar="DIR", help="New folder to write.")]
Form = Annotated[
    ModelFormat,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help=f"Format of the folder: {', '.join(ModelFormat)} (docs/exports.md).",
    ),
]
Unload = Annotated[
    bool,
    o.flag("--unload", help="Unload the version first, once its requests have ended."),
]
Keep = Annotated[
    int,
    typer.Option("--keep", min=1, metavar="N", help="Number of the newest versions to keep."),
]
YesRemove = Annotated[bool, o.flag("--yes", "-y", help="Skip the confirmation.")]


@app.command("list")
def list_versions(
    student: o.Student = "",
    local: o.Local = False,
    run: o.StudentOfRun = None,
    as_json: o.Json = False,
    patience: o.Patience = 60.0,
) -> None:
    """List the versions: size on disk, parent, run, date and pointers."""
    from rich.console import Console

    from services.orchestrator.cli import commands, session
    from services.orchestrator.reports import versions as report

    folder, where = _place(student, local, run, patience)
    with exit_codes():
        found = session.gather(lambda progress: commands.stored_versions(folder, where, progress))
        report.show_all(found, Console(), as_json=as_json)


@app.command()
def show(
    name: Name,
    student: o.Student = "",
    local: o.Local = False,
    run: o.StudentOfRun = None,
    as_json: o.Json = False,
    patience: o.Patience = 60.0,
) -> None:
    """Show one version in full."""
    from rich.console import Console

    from services.orchestrator.cli import commands, session
    from services.orchestrator.reports import versions as report

    folder, where = _place(student, local, run, patience)
    with exit_codes():
        found = session.gather(lambda progress: commands.stored_versions(folder, where, progress))
        report.show(found, name, Console(), as_json=as_json)


@app.command()
def followers(
    student: o.Student = "",
    as_json: o.Json = False,
    patience: o.Patience = 60.0,
) -> None:
    """List the services that follow the student's store, and the version that each serves."""
    from rich.console import Console

    from services.orchestrator.cli import commands, session
    from services.orchestrator.reports import versions as report

    folder, where = _place(student, False, None, patience)
    with exit_codes():
        found = session.gather(lambda progress: commands.stored_versions(folder, where, progress))
        report.show_followers(found, Console(), as_json=as_json)


@app.command()
def export(
    name: Name,
    target: Target,
    form: Form = ModelFormat.HF,
    student: o.Student = "",
    local: o.Local = False,
    run: o.StudentOfRun = None,
    patience: o.Patience = 60.0,
) -> None:
    """Write a version, with its model card, as transformers, vLLM and the hub take it."""
    from services.orchestrator.cli import commands, session

    folder, where = _place(student, local, run, patience)
    with exit_codes():
        weights = session.gather(
            lambda progress: commands.export_version(folder, where, name, target, progress)
        )
        typer.echo(f"{name} is in {target} ({form}); sha256 of its weights: {weights}")


@app.command()
def delete(
    name: Name,
    student: o.Student = "",
    local: o.Local = False,
    run: o.StudentOfRun = None,
    unload: Unload = False,
    yes: YesRemove = False,
    patience: o.Patience = 60.0,
) -> None:
    """Delete a version for good. Its name is never used again.

    The live, candidate and previous versions stay, and so does the base of an adapter.
    """
    from services.orchestrator.cli import commands, session

    folder, where = _place(student, local, run, patience)
    with exit_codes():
        _confirm(f"Delete {name} for good?", yes)
        freed = session.gather(
            lambda progress: commands.delete_versions(
                folder, where, [name], progress, unload=unload
            )
        )
        typer.echo(f"{name} is deleted: {freed / 2**20:,.1f} MiB")


@app.command()
def prune(
    keep: Keep,
    student: o.Student = "",
    local: o.Local = False,
    run: o.StudentOfRun = None,
    yes: YesRemove = False,
    patience: o.Patience = 60.0,
) -> None:
    """Delete all versions but the newest N and those that are loaded or needed.

    Trials of experiments don't count among the newest, and are deleted, too.
    """
    from services.orchestrator.cli import commands, session
    from services.orchestrator.reports.versions import unneeded

    folder, where = _place(student, local, run, patience)
    with exit_codes():
        found = session.gather(lambda progress: commands.stored_versions(folder, where, progress))
        names = unneeded(found, keep)
        if not names:
            typer.echo("nothing to delete")
            return
        _confirm(f"Delete {', '.join(names)} for good?", yes)
        freed = session.gather(
            lambda progress: commands.delete_versions(folder, where, names, progress)
        )
        typer.echo(f"{', '.join(names)}: deleted, {freed / 2**20:,.1f} MiB")


def _place(student: str, local: bool, run: Path | None, patience_s: float) -> tuple[Path, Where]:
    """The run and the address of its student; one that starts here loads no version."""
    where = reach.where("student", student=student, local=local, patience_s=patience_s)
    if local and run is None:
        raise typer.BadParameter("--local needs --run, the run whose student is meant")
    return run or Path(), where


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal to ask for confirmation: give --yes")
    typer.confirm(question, abort=True, err=True)
