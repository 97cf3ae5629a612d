"""`mpa-orch datasets`: labelled data sets, as downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.core.errors import InvalidInput
from services.core.metrics import CORPUS_METRICS, METRICS
from services.core.tasks import TASKS
from services.orchestrator.cli import options as o
from services.orchestrator.cli.exits import again, exit_codes
from services.orchestrator.endpoints.where import Where

app = typer.Typer(
    help="Labelled data sets as downloaded: TextVQA, ST-VQA, ChartQA, OKVQA, ICDAR 2015, TextCaps, PathVQA, ..."
)

Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Data sets; of a pair, the questions.")
]
FormatName = Annotated[str, typer.Option("--format", help="Default: found out from the file.")]
ImageFolder = Annotated[
    Path | None,
    typer.Option(
        "--images",
        metavar="DIR",
        help="Where the images are. Default: beside the file, or where usual.",
    ),
]
OfTask = Annotated[
    str,
    typer.Option(
        "--task", help=f"{', '.join(TASKS)}. Default: the data set's own.", callback=o.one_of(TASKS)
    ),
]
Split = Annotated[str, typer.Option(help="Only this part, such as test or human.")]
Pool = Annotated[
    str,
    typer.Option(
        "--pool",
        metavar="IMAGES",
        help="The unlabeled pool: images of the data set in it are leaks.",
    ),
]

StudentAt = Annotated[
    str,
    typer.Option("--student", metavar="HOST:PORT", help="A student service answers, by --version."),
]
TeacherAt = Annotated[
    str, typer.Option("--teacher", metavar="HOST:PORT", help="A teacher service answers.")
]
OpenAI = Annotated[
    str, typer.Option("--openai", metavar="MODEL", help="A model at OPENAI_BASE_URL answers.")
]
LocalRole = Annotated[
    o.Role | None, typer.Option("--local", help="This service is started here, and answers.")
]
Predictions = Annotated[
    Path | None,
    typer.Option(
        "--predictions", metavar="JSONL", help='Nobody is asked: lines of {"id", "prediction"}.'
    ),
]
Metric = Annotated[
    str,
    typer.Option(
        help="Default: the task's official one.", callback=o.one_of([*METRICS, *CORPUS_METRICS])
    ),
]
Prompt = Annotated[
    str, typer.Option(help='How a question is put, with "{question}" in it. Default: the task\'s.')
]
Limit = Annotated[
    int, typer.Option(min=0, help="The first N questions of each data set only; 0 takes all.")
]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Though images leak or are missing, or answers are few: it is marked."
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where answers and scores go.")]
Before = Annotated[Path, typer.Argument(metavar="BEFORE", help="The folder of an evaluation.")]
After = Annotated[Path, typer.Argument(metavar="AFTER", help="Another, of the same questions.")]
Examples = Annotated[
    int, typer.Option(min=0, help="How many fixed and how many broken questions to show.")
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

    from services.orchestrator.datasets.checks import check, pool_images
    from services.orchestrator.datasets.dataset import open_dataset, task_of
    from services.orchestrator.reports import datasets

    with exit_codes():
        in_pool = pool_images(pool) if pool else None
        faults = 0
        for file in files:
            dataset = open_dataset(file, format_name, images, split)
            found = check(dataset, task_of(dataset, task, is_needed=False), in_pool)
            datasets.show_findings(dataset, found, Console())
            faults += found.faults.total()
        if faults:
            raise InvalidInput(f"{faults:,} faults: mend the files, or leave them out")


@app.command()
def evaluate(
    files: Files,
    out: Out,
    student: StudentAt = "",
    version: o.Version = "",
    teacher: TeacherAt = "",
    openai: OpenAI = "",
    local: LocalRole = None,
    run: o.OfRun = None,
    predictions: Predictions = None,
    task: OfTask = "",
    metric: Metric = "",
    prompt: Prompt = "",
    format_name: FormatName = "",
    images: ImageFolder = None,
    split: Split = "",
    limit: Limit = 0,
    pool: Pool = "",
    force: Force = False,
    patience: o.Patience = 60.0,
) -> None:
    """The official score of a model, or of predictions. Repeat the same command to resume; the folder keeps every answer."""
    from services.orchestrator.cli import session
    from services.orchestrator.datasets.dataset import open_dataset, task_of
    from services.orchestrator.scoring import conditions, evaluation, report
    from services.orchestrator.scoring.respondents import RespondentChoice

    given = {
        "--student": student,
        "--teacher": teacher,
        "--openai": openai,
        "--local": local,
        "--predictions": predictions,
    }
    named = [name for name, value in given.items() if value]
    if len(named) != 1:
        raise typer.BadParameter(
            f"say who answers, by exactly one of {', '.join(given)}; given: {', '.join(named) or 'none'}"
        )
    if prompt and "{question}" not in prompt:
        raise typer.BadParameter('--prompt has no "{question}" in it')
    role = str(local or ("teacher" if teacher else "student"))
    where = Where(teacher, student, is_local=local is not None, patience_s=patience)
    with exit_codes(again()):
        datasets = [open_dataset(file, format_name, images, split) for file in files]
        tasks = {task_of(dataset, task) for dataset in datasets}
        if len(tasks) > 1:
            raise InvalidInput(
                f"these are data sets of several tasks ({', '.join(sorted(tasks))}): evaluate them one by one"
            )
        asked = (
            f"{role} {version}".strip()
            if student or teacher or local
            else openai or str(predictions)
        )
        planned = conditions.plan(
            datasets,
            tasks.pop(),
            asked,
            metric=metric,
            template=prompt,
            limit=limit,
            pool=pool,
            force=force,
        )
        if predictions is not None:
            done = evaluation.take(planned, datasets, predictions, out)
        else:
            whom = RespondentChoice(where, role, version, openai, run or out / "services")
            done = session.gather(
                lambda progress: evaluation.evaluate(planned, datasets, whom, out, progress)
            )
        typer.echo("\n".join(report.lines(*done)))


@app.command()
def compare(before: Before, after: After, examples: Examples = 5) -> None:
    """Two evaluations of the same questions: difference with interval, McNemar, what was fixed and what was broken."""
    from services.orchestrator.reports.scoring import comparison_lines
    from services.orchestrator.scoring.comparison import compare_evaluations

    with exit_codes():
        typer.echo("\n".join(comparison_lines(compare_evaluations(before, after, examples))))
