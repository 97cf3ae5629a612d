"""`mpa-orch audit`: people judge a run's annotations, before and after PI (docs/audit.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.orchestrator.cli import options as o
from services.orchestrator.cli.exits import exit_codes

app = typer.Typer(help="People judge the annotations of a run, before and after PI: a page for raters, and its report.")

Items = Annotated[int, typer.Option(min=1, help="To draw before PI, and as many after it.")]
DrawSeed = Annotated[int, typer.Option("--seed", min=0, help="Of the draw: the same one draws the same items.")]
Human = Annotated[
    Path | None,
    typer.Option("--human", metavar="FILE", help="Mix in as many items of this labelled data set, written by people."),
]
ImageFolder = Annotated[
    Path | None, typer.Option("--images", metavar="DIR", help="Where the images of --human are. Default: beside its file.")
]
AuditFolder = Annotated[Path, typer.Argument(metavar="DIR", help="What `audit draw` wrote.")]
Raters = Annotated[list[Path], typer.Argument(metavar="RATER.json...", help="What the page saved, one file of each rater.")]


@app.command()
def draw(
    run: o.RunFolder, output: o.Output, items: Items = 100, seed: DrawSeed = 0, human: Human = None, images: ImageFolder = None
) -> None:
    """Draws a sample, and writes the page for raters (page.html) with its key (key.json), which raters don't see."""
    from rich.console import Console

    from services.orchestrator.audit import drawing, report
    from services.orchestrator.audit.key import KEY, PAGE
    from services.orchestrator.datasets.dataset import open_dataset
    from services.orchestrator.progress import Progress
    from services.orchestrator.run import read_run

    with exit_codes(), read_run(run) as opened:
        written = open_dataset(human, images=images) if human else None
        with Progress(Console(stderr=True)) as progress:
            key = drawing.draw(opened, items, seed, written, output, progress)
        for line in report.drawn(key):
            typer.echo(line)
        typer.echo(f"for the raters {output / PAGE}, for you alone {output / KEY}")


@app.command(name="report")
def show_report(folder: AuditFolder, raters: Raters, as_json: o.Json = False) -> None:
    """Answerability, correctness, relevance and human-likeness before and after PI, and how far the raters agree."""
    from rich.console import Console

    from services.orchestrator.audit import report
    from services.orchestrator.audit.criteria import CRITERIA
    from services.orchestrator.audit.figures import figures
    from services.orchestrator.audit.key import Key
    from services.orchestrator.audit.ratings import read_ratings

    with exit_codes():
        key = Key.read(folder)
        questions = [criterion.question for criterion in CRITERIA]
        ratings = read_ratings(raters, key.audit, key.items, questions, folder)
        report.show(key, figures(key, ratings), Console(), as_json=as_json)
