"""`mpa-orch align`: the whole run."""

from __future__ import annotations

import typer

from services.core.recipes import Amendments
from services.orchestrator.cli import options as o
from services.orchestrator.cli import reach
from services.orchestrator.cli import run_options as r
from services.orchestrator.cli.exits import again, exit_codes
from services.orchestrator.cli.explorer import watched
from services.orchestrator.cli.request import GuardChoice, RunRequest

app = typer.Typer()


@app.command(rich_help_panel="Start here")
def align(
    images: r.Images,
    task: r.Task,
    teacher: o.Teachers = None,
    student: o.Student = "",
    local: o.Local = False,
    single_device: o.SingleDevice = False,
    run: r.RunOption = None,
    recipe: r.RecipeName = "",
    limit: r.Limit = 0,
    labelled: o.Labelled = None,
    yes: o.Yes = False,
    near_duplicates: r.NearDuplicates = None,
    guards: o.Guards = None,
    guard_tolerance: o.GuardTolerance = None,
    leak_check: r.LeakCheck = None,
    max_pixels: r.MaxPixels = None,
    production: r.Production = None,
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
    rounds: r.Rounds = 1,
    until_gap: r.UntilGap = 0.0,
    redo_rejected: r.RedoRejected = False,
    focus: r.Focus = False,
    reviewed: o.Reviewed = False,
    budget: r.BudgetUsd = "",
    max_hours: r.MaxHours = None,
    usd_per_hour: r.UsdPerHour = 0.0,
    engine: o.EngineOption = o.Engine.LOCAL,
    ray_address: o.RayAddress = "",
    trial: o.Trial = False,
    no_cache: o.NoCache = False,
    patience: o.Patience = 60.0,
    ui: o.ShowPage = False,
) -> None:
    """Align the student with the teacher: annotate, identify, level, evaluate, promote.

    Repeat the same command to resume a run.
    """
    from services.orchestrator.cli import commands, session
    from services.orchestrator.cli.amounts import dollars
    from services.orchestrator.endpoints.budget import Limits
    from services.orchestrator.rounds import StoppingRule

    is_ray = reach.is_on_ray(
        engine, single_device=single_device, has_limits=bool(budget or max_hours)
    )
    where = reach.where(
        "teacher",
        "student",
        task=task,
        teachers=teacher,
        student=student,
        local=local,
        single_device=single_device,
        is_ray=is_ray,
        ray_address=ray_address,
        trial=trial,
        cache=reach.cache(no_cache),
        patience_s=patience,
    )
    request = RunRequest(
        folder=run or reach.new_folder(task),
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
        redo_rejected=redo_rejected,
        focus=focus,
    )
    with (
        exit_codes(again(None if run else request.folder)),
        watched(request.folder if ui else None),
    ):
        session.work(
            request.folder,
            lambda opened, progress: commands.align(
                opened,
                where,
                labelled,
                session.confirm(yes, progress),
                progress,
                rule=StoppingRule(rounds, until_gap, reviewed),
                limits=Limits(dollars(budget) if budget else None, max_hours, usd_per_hour),
                production=production or (),
                guards=GuardChoice.of(guards, guard_tolerance),
            ),
            session.settings(request),
        )
