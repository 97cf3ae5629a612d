"""`mpa-orch quote`: what a run would take."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Annotated

import typer

from services.core.recipes import Amendments
from services.orchestrator.cli import options as o
from services.orchestrator.cli import reach
from services.orchestrator.cli.exits import again, exit_codes
from services.orchestrator.run import RUNS

Pilot = Annotated[
    int,
    typer.Option(
        "--pilot", min=0, metavar="N", help="Images of the pilot. Default: 1 %, at least 50."
    ),
]
Devices = Annotated[
    int,
    typer.Option(
        "--devices", min=0, help="At work at once. Default: one for each service that runs."
    ),
]
QUOTES = RUNS / "quotes"


def quote(
    images: o.Images,
    task: o.Task,
    teacher: o.Teachers = None,
    student: o.Student = "",
    local: o.Local = False,
    single_device: o.SingleDevice = False,
    run: o.RunOption = None,
    recipe: o.RecipeName = "",
    limit: o.Limit = 0,
    matcher: o.Matcher = "",
    student_matcher: o.StudentMatcher = "",
    full_matrix: o.FullMatrix = False,
    seed: o.Seed = 0,
    lora_rank: o.LoraRank = 0,
    guided: o.Guided = False,
    near_duplicates: o.NearDuplicates = None,
    leak_check: o.LeakCheck = None,
    questions: o.Questions = None,
    distinct: o.Distinct = None,
    max_per_kind: o.MaxPerKind = None,
    max_share_per_kind: o.MaxShare = None,
    samples: o.Samples = None,
    sample_temperature: o.SampleTemperature = None,
    min_agreement: o.MinAgreement = None,
    loss: o.LossName = None,
    pilot: Pilot = 0,
    devices: Devices = 0,
    usd_per_hour: o.UsdPerHour = 0.0,
    budget: o.BudgetUsd = "",
    no_cache: o.NoCache = False,
    as_json: o.Json = False,
    patience: o.Patience = 60.0,
) -> None:
    """What `align` with the same options would take: calls, time, money, samples; from a pilot, which it pays for."""
    from rich.console import Console

    from services.orchestrator.cli import session
    from services.orchestrator.cli.amounts import dollars
    from services.orchestrator.endpoints.billing import within
    from services.orchestrator.endpoints.budget import Limits
    from services.orchestrator.quotes import quote as quoting
    from services.orchestrator.reports import quote as quote_report
    from services.orchestrator.run.progress import Progress
    from services.orchestrator.run.run import Run, open_run

    amendments = Amendments(
        questions,
        distinct,
        max_per_kind,
        max_share_per_kind,
        samples,
        sample_temperature,
        min_agreement,
        loss,
    )
    first, further = reach.teachers(task, teacher)
    if single_device:
        where = reach.one_device(first, student, patience)
    else:
        where = reach.services(first, student, local, patience, "teacher", "student")
    where = replace(where, further_teachers=further, cache=reach.cache(no_cache))
    folder = run or QUOTES / reach.new_folder(task).name
    with exit_codes(again(folder if run is None else None)):
        limits = Limits(dollars(budget) if budget else None, None, usd_per_hour)
        asked = (
            images,
            task,
            recipe,
            matcher,
            limit,
            full_matrix,
            seed,
            lora_rank,
            guided,
            student_matcher,
        )
        settings = replace(
            session.settings(folder, *asked, amendments, where=where),
            near_duplicates=near_duplicates,
            leak_check=session.leak_check(leak_check),
            pilot=True,
        )

        async def steps(opened: Run, progress: Progress) -> quoting.Quote:
            async with within(limits, opened, where.cache) as purse:
                at = replace(where, budget=purse, run=opened.id)
                return await quoting.quote(
                    opened,
                    at,
                    pilot,
                    devices or (1 if single_device else 2),
                    usd_per_hour,
                    progress,
                )

        with open_run(folder, settings) as opened:
            found = session.gather(lambda progress: steps(opened, progress))
        if as_json:
            typer.echo(json.dumps(asdict(found), indent=2))
        else:
            quote_report.show(found, Console())
