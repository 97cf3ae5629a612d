"""`mpa-orch audit`: people judge a run's annotations and its student's errors (docs/audit.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.orchestrator.audit.key import AuditSubject
from services.orchestrator.cli import options as o
from services.orchestrator.cli import reach
from services.orchestrator.cli.exits import again, exit_codes

app = typer.Typer(no_args_is_help=True)

Items = Annotated[
    int,
    typer.Option(
        "--items",
        min=1,
        metavar="N",
        help="Number of items to draw; for annotations, N before PI and N after it.",
    ),
]
Of = Annotated[
    AuditSubject,
    typer.Option(
        "--of",
        help="Items to judge: annotations before and after PI, or the student's errors.",
    ),
]
DrawSeed = Annotated[
    int,
    typer.Option(
        "--seed", min=0, metavar="N", help="Random seed of the draw; equal seeds draw equal items."
    ),
]
Human = Annotated[
    Path | None,
    typer.Option(
        "--human",
        metavar="FILE",
        help="Labelled data set, written by people: mix in N of its items.",
    ),
]
ImageFolder = Annotated[
    Path | None,
    typer.Option(
        "--images",
        metavar="DIR",
        help="Folder of the images of --human. Default: next to its file.",
    ),
]
AuditFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder written by `audit draw`.")]
Raters = Annotated[
    list[Path],
    typer.Argument(metavar="RATER.json...", help="Files saved by the page, one for each rater."),
]
ErrorItems = Annotated[
    int, typer.Option("--items", min=1, metavar="N", help="Number of errors to sort.")
]
TagsFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="FILE",
        help="Also write every error with its category to FILE, as JSON lines.",
    ),
]
LocalTeacher = Annotated[
    bool,
    o.flag("--local", help="Start the teacher on this machine, as judge (default: rules alone)."),
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
    """Draw a sample, and write the raters' page (page.html) with its key (key.json).

    Keep the key from the raters: it states where each item is from.
    """
    from rich.console import Console

    from services.orchestrator.audit import drawing
    from services.orchestrator.audit.key import KEY, PAGE
    from services.orchestrator.datasets.dataset import open_dataset
    from services.orchestrator.reports import audit
    from services.orchestrator.run.progress import Progress
    from services.orchestrator.run.run import read_run

    if human is not None and of is AuditSubject.ERRORS:
        raise typer.BadParameter(
            "--human is for annotations: a labelled data set has no student's errors"
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
    """Report the raters' judgements, and how far the raters agree.

    For annotations: measures before and after PI. For errors: their categories.
    """
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
def reviews(run: o.RunFolder, as_json: o.Json = False) -> None:
    """Report people's reviews of a run (`mpa-orch ui`): verdicts, agreement, matchers.

    A matcher keeps an annotation if it finds a model's answer equal; it is held against the
    people who accept the annotation, or don't.
    """
    from dataclasses import replace

    from rich.console import Console

    from services.orchestrator.audit.review_figures import hold_matchers, review_figures
    from services.orchestrator.reports import reviewing
    from services.orchestrator.run.ledger.review_book import reading_reviews
    from services.orchestrator.run.run import read_run

    with exit_codes(), read_run(run) as opened, reading_reviews(run) as book:
        given = book.every() if book else {}
        found = replace(review_figures(given), matchers=hold_matchers(opened, given))
        reviewing.show(found, Console(), as_json=as_json)


@app.command()
def errors(
    run: o.RunFolder,
    teacher: o.Teacher = "",
    local: LocalTeacher = False,
    items: ErrorItems = 100,
    seed: DrawSeed = 0,
    output: TagsFile = None,
    no_cache: o.NoCache = False,
    patience: o.Patience = 60.0,
    as_json: o.Json = False,
) -> None:
    """Sort the student's errors in the gap by category.

    Rules assign the categories. With --teacher or --local, the teacher judges
    as well.
    """
    from rich.console import Console

    from services.orchestrator.audit import tagging
    from services.orchestrator.audit.breakdown import of_tags
    from services.orchestrator.cli import commands, session
    from services.orchestrator.reports import breakdown
    from services.orchestrator.run.run import read_run

    with exit_codes(again()), read_run(run) as opened:
        where = None
        if teacher or local:
            where = reach.where(
                "teacher",
                teachers=[teacher] if teacher else None,
                local=local,
                cache=reach.cache(no_cache),
                patience_s=patience,
            )
        tagged = session.gather(
            lambda progress: commands.tag_errors(opened, where, items, seed, progress)
        )
        if output is not None:
            tagging.write(tagged, output)
        breakdown.show(of_tags(tagged), Console(), as_json=as_json)
