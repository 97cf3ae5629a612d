"""`mpa-orch quote`: the price of a run, before it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from services.core.recipes import Amendments
from services.orchestrator.cli import options as o
from services.orchestrator.cli import reach
from services.orchestrator.cli import run_options as r
from services.orchestrator.cli.exits import again, exit_codes
from services.orchestrator.cli.request import GuardChoice, RunRequest
from services.orchestrator.run import RUNS

app = typer.Typer()

Pilot = Annotated[
    int,
    typer.Option(
        "--pilot",
        min=0,
        metavar="N",
        help="Number of images in the pilot. Default: 1 % of all, at least 50.",
        show_default=False,
    ),
]
Devices = Annotated[
    int,
    typer.Option(
        "--devices",
        min=0,
        metavar="N",
        help="Number of devices used at the same time. Default: one for each service that runs.",
        show_default=False,
    ),
]
QUOTES = RUNS / "quotes"


@app.command(rich_help_panel="Start here")
def quote(
    images: r.Images,
    task: r.Task,
    teacher: o.Teachers = None,
    student: o.Student = "",
    local: o.Local = False,
    single_device: o.SingleDevice = False,
    run: r.RunOption = None,
    recipe: r.RecipeName = "",
    limit: r.Limit = 0,
    pilot: Pilot = 0,
    as_json: o.Json = False,
    near_duplicates: r.NearDuplicates = None,
    guards: o.Guards = None,
    guard_tolerance: o.GuardTolerance = None,
    leak_check: r.LeakCheck = None,
    max_pixels: r.MaxPixels = None,
    questions: r.Questions = None,
    distinct: r.Distinct = None,
    max_per_kind: r.MaxPerKind = None,
    guided: r.Guided = False,
    matcher: r.Matcher = "",
    student_matcher: r.StudentMatcher = "",
    full_matrix: r.FullMatrix = False,
    samples: r.Samples = None,
    sample_temperature: r.SampleTemperature = None,
    min_agreement: r.MinAgreement = None,
    max_share_per_kind: r.MaxShare = None,
    lora_rank: r.LoraRank = 0,
    loss: r.LossName = None,
    anchor_questions: o.AnchorQuestions = None,
    seed: r.Seed = 0,
    devices: Devices = 0,
    budget: r.BudgetUsd = "",
    usd_per_hour: r.UsdPerHour = 0.0,
    no_cache: o.NoCache = False,
    patience: o.Patience = 60.0,
) -> None:
    """Estimate calls, time, money and samples of an `align` with the same options.

    The estimate comes from a pilot: a run on a few of the images. Its teacher
    calls cost as much as those of any run.
    """
    from rich.console import Console

    from services.orchestrator.cli import commands, session
    from services.orchestrator.cli.amounts import dollars
    from services.orchestrator.endpoints.budget import Limits
    from services.orchestrator.reports import quote as quote_report
    from services.orchestrator.run.run import open_run

    where = reach.where(
        "teacher",
        "student",
        task=task,
        teachers=teacher,
        student=student,
        local=local,
        single_device=single_device,
        cache=reach.cache(no_cache),
        patience_s=patience,
    )
    request = RunRequest(
        folder=run or QUOTES / reach.new_folder(task).name,
        where=where,
        images=images,
        task=task,
        recipe=recipe,
        amendments=Amendments(
            questions_per_image=questions,
            distinct_questions=distinct,
            max_per_kind=max_per_kind,
            max_share_per_kind=max_share_per_kind,
            samples=samples,
            sample_temperature=sample_temperature,
            min_agreement=min_agreement,
            loss=loss,
        ),
        matcher=matcher,
        student_matcher=student_matcher,
        limit=limit,
        near_duplicates=near_duplicates,
        leak_check=tuple(leak_check or ()),
        max_pixels=max_pixels,
        full_matrix=full_matrix,
        guided=guided,
        seed=seed,
        lora_rank=lora_rank,
        anchor_questions=anchor_questions,
        pilot=True,
    )
    limits = Limits(dollars(budget) if budget else None, None, usd_per_hour)
    devices = devices or (1 if single_device else 2)
    with exit_codes(again(None if run else request.folder)):
        with open_run(request.folder, session.settings(request)) as opened:
            found = session.gather(
                lambda progress: commands.quote(
                    opened,
                    where,
                    pilot,
                    devices,
                    limits,
                    progress,
                    GuardChoice.of(guards, guard_tolerance),
                )
            )
        if as_json:
            typer.echo(json.dumps(asdict(found), indent=2))
        else:
            quote_report.show(found, Console())
