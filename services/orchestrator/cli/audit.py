"""`mpa-orch audit`: people judge a run's annotations before and after PI, and its student's errors (docs/audit.md)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from services.orchestrator.audit.key import AuditSubject
from services.orchestrator.cli import options as o
from services.orchestrator.cli import reach
from services.orchestrator.cli.exits import again, exit_codes

app = typer.Typer(
    help="Annotations before and after PI, and the student's errors: pages for people, and their reports."
)

Items = Annotated[
    int, typer.Option(min=1, help="Of annotations before PI, as many after it; of errors, in all.")
]
Of = Annotated[
    AuditSubject,
    typer.Option(
        "--of", help="What is judged: annotations before and after PI, or the student's errors."
    ),
]
DrawSeed = Annotated[
    int, typer.Option("--seed", min=0, help="Of the draw: the same one draws the same items.")
]
Human = Annotated[
    Path | None,
    typer.Option(
        "--human",
        metavar="FILE",
        help="Mix in as many items of this labelled data set, written by people.",
    ),
]
ImageFolder = Annotated[
    Path | None,
    typer.Option(
        "--images", metavar="DIR", help="Where the images of --human are. Default: beside its file."
    ),
]
AuditFolder = Annotated[Path, typer.Argument(metavar="DIR", help="What `audit draw` wrote.")]
Raters = Annotated[
    list[Path],
    typer.Argument(metavar="RATER.json...", help="What the page saved, one file of each rater."),
]
TagsFile = Annotated[
    Path | None,
    typer.Option(
        "--output", metavar="FILE", help="Every error with its category, a line of JSON each."
    ),
]
LocalTeacher = Annotated[
    bool, typer.Option("--local", help="Start the bundled teacher here as judge.")
]


@app.command()
def draw(
    run: o.RunFolder,
    output: o.Output,
    of: Of = AuditSubject.ANNOTATIONS,
    items: Items = 100,
    seed: DrawSeed = 0,
    human: Human = None,
    images: ImageFolder = None,
) -> None:
    """Draws a sample, and writes the page for raters (page.html) with its key (key.json), which raters don't see."""
    from rich.console import Console

    from services.orchestrator.audit import drawing
    from services.orchestrator.audit.key import KEY, PAGE
    from services.orchestrator.datasets.dataset import open_dataset
    from services.orchestrator.reports import audit
    from services.orchestrator.run.progress import Progress
    from services.orchestrator.run.run import read_run

    if human is not None and of is AuditSubject.ERRORS:
        raise typer.BadParameter(
            "--human is for annotations: nobody's errors are in a labelled data set"
        )
    with exit_codes(), read_run(run) as opened:
        written = open_dataset(human, images=images) if human else None
        with Progress(Console(stderr=True)) as progress:
            key = drawing.draw(opened, of, items, seed, written, output, progress)
        for line in audit.drawn(key):
            typer.echo(line)
        typer.echo(f"for the raters {output / PAGE}, for you alone {output / KEY}")


@app.command(name="report")
def show_report(folder: AuditFolder, raters: Raters, as_json: o.Json = False) -> None:
    """What the raters found: the measures before and after PI, or the kinds of errors; and how far the raters agree."""
    from rich.console import Console

    from services.orchestrator.audit.breakdown import of_ratings
    from services.orchestrator.audit.figures import figures
    from services.orchestrator.audit.key import Key
    from services.orchestrator.audit.ratings import read_ratings
    from services.orchestrator.audit.studies import study
    from services.orchestrator.reports import audit, breakdown

    with exit_codes():
        key = Key.read(folder)
        ratings = read_ratings(
            raters, key.audit, key.items, study(key.subject, key.task).questions, folder
        )
        if key.subject is AuditSubject.ERRORS:
            breakdown.show(of_ratings(key, ratings), Console(), as_json=as_json)
        else:
            audit.show(key, figures(key, ratings), Console(), as_json=as_json)


@app.command()
def errors(
    run: o.RunFolder,
    teacher: o.Teacher = "",
    local: LocalTeacher = False,
    items: Items = 100,
    seed: DrawSeed = 0,
    output: TagsFile = None,
    no_cache: o.NoCache = False,
    patience: o.Patience = 60.0,
    as_json: o.Json = False,
) -> None:
    """What the student lacks: errors of the gap by category, by rules, and by the teacher as judge where one is named."""
    from rich.console import Console

    from services.orchestrator.audit import tagging
    from services.orchestrator.audit.breakdown import of_tags
    from services.orchestrator.cli import commands, session
    from services.orchestrator.reports import breakdown
    from services.orchestrator.run.run import read_run

    with exit_codes(again()), read_run(run) as opened:
        where = None
        if teacher or local:
            where = replace(
                reach.services(teacher, "", local, patience, "teacher"), cache=reach.cache(no_cache)
            )
        tagged = session.gather(
            lambda progress: commands.tag_errors(opened, where, items, seed, progress)
        )
        if output is not None:
            tagging.write(tagged, output)
        breakdown.show(of_tags(tagged), Console(), as_json=as_json)
