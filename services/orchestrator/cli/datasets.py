"""`mpa-orch datasets`: check labelled data sets as downloaded, and score models on them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from services.core.errors import InvalidInput
from services.core.metrics import CORPUS_METRICS, METRICS
from services.core.tasks import TASKS
from services.orchestrator.cli import options as o
from services.orchestrator.cli.exits import again, exit_codes
from services.orchestrator.endpoints.where import Where

app = typer.Typer(no_args_is_help=True)
ANSWERS = "Model that answers (exactly one)"
QUESTIONS = "Prompt and score"
_answers = partial(typer.Option, rich_help_panel=ANSWERS)
_questions = partial(typer.Option, rich_help_panel=QUESTIONS)

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...",
        help="Data sets as downloaded. If questions and answers are two files: the questions.",
    ),
]
FormatName = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Format of the files (docs/evaluation.md). Default: detected by their content.",
    ),
]
ImageFolder = Annotated[
    Path | None,
    typer.Option(
        "--images",
        metavar="DIR",
        help="Folder of the images. Default: next to the file, or the data set's usual folder.",
    ),
]
OfTask = Annotated[
    str,
    typer.Option(
        "--task",
        metavar="TASK",
        help=f"Task of the questions: {', '.join(TASKS)}. Default: the data set's own.",
        callback=o.one_of(TASKS),
    ),
]
Split = Annotated[
    str,
    typer.Option(
        "--split", metavar="NAME", help="Use only this part of a data set, such as test or human."
    ),
]
Pool = Annotated[
    str,
    typer.Option(
        "--pool",
        metavar="IMAGES",
        help="Unlabeled images of a run: report each image that the data set shares with them.",
    ),
]

StudentAt = Annotated[
    str,
    _answers(
        "--student", metavar="HOST:PORT", help="Address of a student service (see --version)."
    ),
]
TeacherAt = Annotated[
    str, _answers("--teacher", metavar="HOST:PORT", help="Address of a teacher service.")
]
OpenAI = Annotated[
    str, _answers("--openai", metavar="MODEL", help="Model of the API at OPENAI_BASE_URL.")
]
LocalRole = Annotated[o.Role | None, _answers("--local", help="Service to start on this machine.")]
Predictions = Annotated[
    Path | None,
    _answers(
        "--predictions",
        metavar="JSONL",
        help='File of answers, instead of a model: lines of {"id", "prediction"}.',
    ),
]
StudentVersion = Annotated[
    str,
    _answers(
        "--version",
        metavar="VERSION",
        help="With a student: its version, such as v2. Default: live.",
    ),
]
StudentOfRun = Annotated[
    Path | None,
    _answers(
        "--run", metavar="RUN", help="Folder of the run that trained the student; needs --local."
    ),
]
Metric = Annotated[
    str,
    _questions(
        "--metric",
        metavar="NAME",
        help=f"Metric: {', '.join([*METRICS, *CORPUS_METRICS])}. Default: the task's official one.",
        callback=o.one_of([*METRICS, *CORPUS_METRICS]),
    ),
]
Prompt = Annotated[
    str,
    _questions(
        "--prompt",
        metavar="TEXT",
        help="Prompt with \"{question}\" in the question's place. Default: the task's.",
    ),
]
Limit = Annotated[
    int,
    typer.Option(
        "--limit",
        min=0,
        metavar="N",
        help="Use only the first N questions of each data set; 0: all.",
    ),
]
Force = Annotated[
    bool,
    o.flag(
        "--force",
        help="Continue if images leak or are missing, or answers are few; the score states it.",
        rich_help_panel=QUESTIONS,
    ),
]
Out = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder of the answers and scores.")
]
Before = Annotated[Path, typer.Argument(metavar="BEFORE", help="Folder of an evaluation.")]
After = Annotated[
    Path, typer.Argument(metavar="AFTER", help="Folder of another one with the same questions.")
]
Examples = Annotated[
    int,
    typer.Option(
        "--examples", min=0, metavar="N", help="Examples of fixed and of broken questions to show."
    ),
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
    """Check data sets: records, ids, answers, images, and images shared with a pool.

    Exit code 1 if a data set has faults.
    """
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
            raise InvalidInput(f"{faults:,} faults: correct the files, or leave them out")


@app.command()
def evaluate(
    files: Files,
    out: Out,
    task: OfTask = "",
    split: Split = "",
    limit: Limit = 0,
    student: StudentAt = "",
    version: StudentVersion = "",
    teacher: TeacherAt = "",
    openai: OpenAI = "",
    local: LocalRole = None,
    run: StudentOfRun = None,
    predictions: Predictions = None,
    metric: Metric = "",
    prompt: Prompt = "",
    force: Force = False,
    format_name: FormatName = "",
    images: ImageFolder = None,
    pool: Pool = "",
    patience: o.Patience = 60.0,
) -> None:
    """Score a model, or a file of predictions, by the official metric.

    Every answer is kept in the folder of --out. Repeat the same command to resume.
    """
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
            f"name the model that answers by exactly one of {', '.join(given)}; "
            f"given: {', '.join(named) or 'none'}"
        )
    if prompt and "{question}" not in prompt:
        raise typer.BadParameter('--prompt lacks "{question}": put it in the place of the question')
    role = str(local or ("teacher" if teacher else "student"))
    where = Where(teacher, student, is_local=local is not None, patience_s=patience)
    with exit_codes(again()):
        datasets = [open_dataset(file, format_name, images, split) for file in files]
        tasks = {task_of(dataset, task) for dataset in datasets}
        if len(tasks) > 1:
            raise InvalidInput(
                f"these are data sets of several tasks ({', '.join(sorted(tasks))}): "
                "evaluate them one by one"
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
    """Compare two evaluations of the same questions.

    Show the difference with its interval, McNemar's test, and the questions
    that AFTER fixed or broke.
    """
    from services.orchestrator.reports.scoring import comparison_lines
    from services.orchestrator.scoring.comparison import compare_evaluations

    with exit_codes():
        typer.echo("\n".join(comparison_lines(compare_evaluations(before, after, examples))))
