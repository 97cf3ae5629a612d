"""`mpa-orch datasets`: labelled data sets, as downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.core.tasks import TASKS
from services.orchestrator.exits import exit_codes

app = typer.Typer(help="Labelled data sets as downloaded: TextVQA, ST-VQA, ChartQA, OKVQA, ICDAR 2015, TextCaps, PathVQA, ...")

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Data sets; of a pair, the questions.")]
FormatName = Annotated[str, typer.Option("--format", help="Default: found out from the file.")]
ImageFolder = Annotated[
    Path | None, typer.Option("--images", metavar="DIR", help="Where the images are. Default: beside the file, or where usual.")
]
OfTask = Annotated[str, typer.Option("--task", help=f"{', '.join(TASKS)}. Default: the data set's own.")]
Split = Annotated[str, typer.Option(help="Only this part, such as test or human.")]
Pool = Annotated[
    str, typer.Option("--pool", metavar="IMAGES", help="The unlabeled pool: images of the data set in it are leaks.")
]


@app.command()
def check(
    files: Files,
    task: OfTask = "",
    format_name: FormatName = "",
    images: ImageFolder = None,
    split: Split = "",
    pool: Pool = "",
) -> None:
    """What is in a data set, and what is wrong with it: records, ids, answers, images, leaks into the pool."""
    from rich.console import Console

    from services.core.errors import InvalidInput
    from services.orchestrator.datasets import report
    from services.orchestrator.datasets.checks import check, pool_images
    from services.orchestrator.datasets.dataset import open_dataset, task_of

    with exit_codes():
        in_pool = pool_images(pool) if pool else None
        faults = 0
        for file in files:
            dataset = open_dataset(file, format_name, images, split)
            found = check(dataset, task_of(dataset, task, is_needed=False), in_pool)
            report.show_findings(dataset, found, Console())
            faults += found.faults.total()
        if faults:
            raise InvalidInput(f"{faults:,} faults: mend the files, or leave them out")
