"""`mpa-orch verdict`: whether the student may replace the teacher, and at what price."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.orchestrator.cli import options as o
from services.orchestrator.cli import reach
from services.orchestrator.cli.exits import again, exit_codes
from services.orchestrator.cli.results import PANEL

app = typer.Typer()
PRICES = "Prices"

Eval = Annotated[
    Path | None,
    typer.Option(
        "--eval",
        metavar="LABELLED",
        help="Compare both models on a labelled set. Only answers that the run lacks are asked "
        "for. Default: the run's held-out records, by the teacher's own annotations.",
    ),
]
Margin = Annotated[
    float,
    typer.Option(
        "--margin",
        metavar="POINTS",
        callback=o.finite,
        min=0.01,
        max=99.0,
        help="Loss of accuracy that is accepted, in points (percent of the questions).",
    ),
]
TeacherUsd = Annotated[
    float | None,
    typer.Option(
        "--teacher-usd",
        metavar="USD",
        callback=o.finite,
        min=0.0,
        help="Price of 1,000 answers of the teacher. Default: what the run measured.",
        rich_help_panel=PRICES,
    ),
]
StudentUsd = Annotated[
    float | None,
    typer.Option(
        "--student-usd",
        metavar="USD",
        callback=o.finite,
        min=0.0,
        help="Price of 1,000 answers of the student. Default: what the run measured.",
        rich_help_panel=PRICES,
    ),
]
TeacherUsdPerHour = Annotated[
    float | None,
    typer.Option(
        "--teacher-usd-per-hour",
        metavar="USD",
        callback=o.finite,
        min=0.0,
        help="Price of the teacher's devices, all together.",
        rich_help_panel=PRICES,
    ),
]
StudentUsdPerHour = Annotated[
    float | None,
    typer.Option(
        "--student-usd-per-hour",
        metavar="USD",
        callback=o.finite,
        min=0.0,
        help="Price of the student's devices, all together.",
        rich_help_panel=PRICES,
    ),
]


@app.command(rich_help_panel=PANEL)
def verdict(
    run: o.RunFolder,
    labelled: Eval = None,
    margin: Margin = 5.0,
    teacher: o.Teachers = None,
    student: o.Student = "",
    local: o.Local = False,
    teacher_usd: TeacherUsd = None,
    student_usd: StudentUsd = None,
    teacher_usd_per_hour: TeacherUsdPerHour = None,
    student_usd_per_hour: StudentUsdPerHour = None,
    no_cache: o.NoCache = False,
    patience: o.Patience = 60.0,
    as_json: o.Json = False,
) -> None:
    """Decide whether the student may replace the teacher: yes, no, or not enough evidence.

    Without --eval no model is asked, and the teacher's annotations are the
    truth. The exit code is 0 whatever the verdict is.
    """
    from rich.console import Console

    from services.orchestrator.cli import commands, session
    from services.orchestrator.reports import verdict as report
    from services.orchestrator.run.run import open_run, read_run
    from services.orchestrator.run.running_costs import ModelPrice
    from services.orchestrator.run.verdict import (
        find_subject,
        has_skipped,
        is_answered,
        read_verdict,
    )

    with exit_codes(again()):
        if labelled is not None:
            is_named = bool(teacher or student or local)
            with read_run(run) as opened:
                is_known = is_answered(
                    opened.ledger, find_subject(opened.ledger), labelled
                ) and not (is_named and has_skipped(opened.ledger, labelled))
            if not is_known:
                where = reach.where(
                    "teacher",
                    "student",
                    task=reach.task_of(run),
                    teachers=teacher,
                    student=student,
                    local=local,
                    cache=reach.cache(no_cache),
                    patience_s=patience,
                )
                with open_run(run) as opened:
                    session.gather(
                        lambda progress: commands.confront(opened, where, labelled, progress)
                    )
        with read_run(run) as opened:
            found = read_verdict(
                opened,
                margin / 100,
                labelled,
                ModelPrice(teacher_usd, teacher_usd_per_hour),
                ModelPrice(student_usd, student_usd_per_hour),
            )
        if as_json:
            typer.echo(report.to_json(found))
        else:
            report.show(found, Console())
