"""`mpa-orch annotate`, `identify`, `level`, `evaluate` and `promote`: a run, step by step."""

from __future__ import annotations

from typing import Annotated

import typer

from services.core.recipes import Amendments
from services.orchestrator.cli import options as o
from services.orchestrator.cli import reach
from services.orchestrator.cli import run_options as r
from services.orchestrator.cli.exits import again, exit_codes
from services.orchestrator.cli.request import GuardChoice, RunRequest

app = typer.Typer()
PANEL = "Steps of a run"

Force = Annotated[
    bool, o.flag("--force", help="Promote even if the evaluation finds no improvement.")
]


@app.command(rich_help_panel=PANEL)
def annotate(
    images: r.Images,
    task: r.Task,
    teacher: o.Teachers = None,
    local: o.Local = False,
    run: r.RunOption = None,
    recipe: r.RecipeName = "",
    limit: r.Limit = 0,
    near_duplicates: r.NearDuplicates = None,
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
    no_cache: o.NoCache = False,
    patience: o.Patience = 60.0,
) -> None:
    """Step 1: begin a run; the teacher writes questions and answers about the images.

    Options of later steps are given here, too: they are part of the run's
    settings.
    """
    from services.orchestrator.cli import commands, session

    where = reach.where(
        "teacher",
        task=task,
        teachers=teacher,
        local=local,
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
    )
    with exit_codes(again(None if run else request.folder)):
        session.work(
            request.folder,
            lambda opened, progress: commands.annotate(opened, where, progress),
            session.settings(request),
        )


@app.command(rich_help_panel=PANEL)
def identify(
    run: o.RunFolder,
    teacher: o.Teachers = None,
    student: o.Student = "",
    local: o.Local = False,
    no_cache: o.NoCache = False,
    patience: o.Patience = 60.0,
) -> None:
    """Step 2: find the parity gap, where the teacher is right and the student isn't.

    Both models answer the teacher's questions without its annotations.
    """
    from services.orchestrator.cli import commands, session

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
    with exit_codes(again()):
        session.work(run, lambda opened, progress: commands.identify(opened, where, progress))


@app.command(rich_help_panel=PANEL)
def level(
    run: o.RunFolder,
    student: o.Student = "",
    local: o.Local = False,
    yes: o.Yes = False,
    reviewed: o.Reviewed = False,
    patience: o.Patience = 60.0,
) -> None:
    """Step 3: train the student on the parity set.

    Ctrl-C doesn't stop the training on a remote service. Repeat the command
    to follow it.
    """
    from services.orchestrator.cli import commands, session

    where = reach.where("student", student=student, local=local, patience_s=patience)
    with exit_codes(again()):
        session.work(
            run,
            lambda opened, progress: commands.level(
                opened, where, session.confirm(yes, progress), progress, reviewed=reviewed
            ),
        )


@app.command(rich_help_panel=PANEL)
def evaluate(
    run: o.RunFolder,
    teacher: o.Teachers = None,
    student: o.Student = "",
    local: o.Local = False,
    labelled: o.Labelled = None,
    guards: o.Guards = None,
    guard_tolerance: o.GuardTolerance = None,
    trial: o.Trial = False,
    no_cache: o.NoCache = False,
    patience: o.Patience = 60.0,
) -> None:
    """Step 4: compare the candidate with the live version on held-out records.

    --eval adds the accuracy on labels. To score any model without a run, use
    `mpa-orch datasets evaluate`.
    """
    from services.orchestrator.cli import commands, session

    where = reach.where(
        *(("teacher", "student") if labelled else ("student",)),
        task=reach.task_of(run),
        teachers=teacher,
        student=student,
        local=local,
        trial=trial,
        cache=reach.cache(no_cache),
        patience_s=patience,
    )
    with exit_codes(again()):
        session.work(
            run,
            lambda opened, progress: commands.evaluate(
                opened, where, labelled, progress, GuardChoice.of(guards, guard_tolerance)
            ),
        )


@app.command(rich_help_panel=PANEL)
def promote(
    run: o.RunFolder,
    student: o.Student = "",
    local: o.Local = False,
    force: Force = False,
    yes: o.Yes = False,
    patience: o.Patience = 60.0,
) -> None:
    """Step 5: make the candidate live under traffic, if the evaluation finds it better."""
    from services.orchestrator.cli import commands, session

    where = reach.where("student", student=student, local=local, patience_s=patience)
    with exit_codes(again()):
        session.work(
            run,
            lambda opened, progress: commands.promote(
                opened, where, session.confirm(yes or force, progress), progress, force=force
            ),
        )
