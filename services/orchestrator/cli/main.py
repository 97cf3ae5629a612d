"""`mpa-orch`: arguments in, exit code out (exits.py).

What does the work is imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

from dataclasses import replace

import typer

from services.core.recipes import Amendments
from services.orchestrator.cli import audit as cli_audit
from services.orchestrator.cli import cache as cli_cache
from services.orchestrator.cli import datasets as cli_datasets
from services.orchestrator.cli import experiment as cli_experiment
from services.orchestrator.cli import options as o
from services.orchestrator.cli import quote as cli_quote
from services.orchestrator.cli import reach
from services.orchestrator.cli import runs as cli_runs
from services.orchestrator.cli import services as cli_services
from services.orchestrator.cli.exits import again as _again
from services.orchestrator.cli.exits import exit_codes as _exit_codes
from services.orchestrator.cli.reach import cache as _cache
from services.orchestrator.cli.reach import new_folder as _new_folder
from services.orchestrator.cli.reach import one_device as _single_device
from services.orchestrator.cli.reach import services as _where

app = typer.Typer(
    help="Aligns a small vision-language model (the student) with a large one (the teacher), from unlabeled images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(cli_datasets.app, name="datasets")
app.add_typer(cli_cache.app, name="cache")
app.add_typer(cli_runs.app, name="runs")
app.add_typer(cli_audit.app, name="audit")


@app.command()
def align(
    images: o.Images,
    task: o.Task,
    teacher: o.Teachers = None,
    student: o.Student = "",
    local: o.Local = False,
    single_device: o.SingleDevice = False,
    engine: o.EngineOption = o.Engine.LOCAL,
    ray_address: o.RayAddress = "",
    run: o.RunOption = None,
    recipe: o.RecipeName = "",
    limit: o.Limit = 0,
    labelled: o.Labelled = None,
    matcher: o.Matcher = "",
    student_matcher: o.StudentMatcher = "",
    full_matrix: o.FullMatrix = False,
    seed: o.Seed = 0,
    lora_rank: o.LoraRank = 0,
    guided: o.Guided = False,
    rounds: o.Rounds = 1,
    until_gap: o.UntilGap = 0.0,
    redo_rejected: o.RedoRejected = False,
    focus: o.Focus = False,
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
    production: o.Production = None,
    trial: o.Trial = False,
    yes: o.Yes = False,
    budget: o.BudgetUsd = "",
    max_hours: o.MaxHours = None,
    usd_per_hour: o.UsdPerHour = 0.0,
    no_cache: o.NoCache = False,
    patience: o.Patience = 60.0,
) -> None:
    """All of it: annotate, identify, level, evaluate, promote. Repeat the same command to resume."""
    from services.orchestrator.cli import commands, session
    from services.orchestrator.cli.amounts import dollars
    from services.orchestrator.endpoints.budget import Limits
    from services.orchestrator.rounds import StoppingRule

    first, further = reach.teachers(task, teacher)
    if single_device:
        where = _single_device(first, student, patience)
    else:
        where = _where(first, student, local, patience, "teacher", "student")
    where = replace(where, is_trial=trial, further_teachers=further, cache=_cache(no_cache))
    where = reach.cluster(
        where, engine is o.Engine.RAY, ray_address, has_limits=bool(budget or max_hours)
    )
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
    folder = run or _new_folder(task)
    with _exit_codes(_again(folder if run is None else None)):
        limits = Limits(dollars(budget) if budget else None, max_hours, usd_per_hour)
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
        chosen = session.settings(folder, *asked, amendments, where=where)
        session.work(
            folder,
            lambda opened, progress: commands.align(
                *(opened, where, labelled, session.confirm(yes, progress), progress),
                *(StoppingRule(rounds, until_gap), limits, production or ()),
            ),
            replace(
                chosen,
                redo_rejected=redo_rejected,
                focus=focus,
                near_duplicates=near_duplicates,
                leak_check=session.leak_check(leak_check),
            ),
        )


app.command()(cli_quote.quote)
app.command()(cli_experiment.experiment)


@app.command()
def annotate(
    images: o.Images,
    task: o.Task,
    teacher: o.Teachers = None,
    local: o.Local = False,
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
    no_cache: o.NoCache = False,
    questions: o.Questions = None,
    distinct: o.Distinct = None,
    max_per_kind: o.MaxPerKind = None,
    max_share_per_kind: o.MaxShare = None,
    samples: o.Samples = None,
    sample_temperature: o.SampleTemperature = None,
    min_agreement: o.MinAgreement = None,
    loss: o.LossName = None,
    patience: o.Patience = 60.0,
) -> None:
    """Step 1 of a run, which it begins: the teacher writes questions and answers about the images."""
    from services.orchestrator.cli import commands, session

    first, further = reach.teachers(task, teacher)
    where = replace(
        _where(first, "", local, patience, "teacher"),
        further_teachers=further,
        cache=_cache(no_cache),
    )
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
    folder = run or _new_folder(task)
    with _exit_codes(_again(folder if run is None else None)):
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
        chosen = session.settings(folder, *asked, amendments, where=where)
        session.work(
            folder,
            lambda opened, progress: commands.annotate(opened, where, progress),
            replace(
                chosen,
                near_duplicates=near_duplicates,
                leak_check=session.leak_check(leak_check),
            ),
        )


@app.command()
def identify(
    run: o.RunFolder,
    teacher: o.Teachers = None,
    student: o.Student = "",
    local: o.Local = False,
    no_cache: o.NoCache = False,
    patience: o.Patience = 60.0,
) -> None:
    """Step 2: both models answer blind; where they part is the parity gap."""
    from services.orchestrator.cli import commands, session

    first, further = reach.teachers(reach.task_of(run), teacher)
    where = _where(first, student, local, patience, "teacher", "student")
    where = replace(where, further_teachers=further, cache=_cache(no_cache))
    with _exit_codes(_again()):
        session.work(run, lambda opened, progress: commands.identify(opened, where, progress))


@app.command()
def level(
    run: o.RunFolder,
    student: o.Student = "",
    local: o.Local = False,
    yes: o.Yes = False,
    patience: o.Patience = 60.0,
) -> None:
    """Step 3: the student trains on the parity set. Ctrl-C leaves a remote training going; the same command follows it."""
    from services.orchestrator.cli import commands, session

    where = _where("", student, local, patience, "student")
    with _exit_codes(_again()):
        session.work(
            run,
            lambda opened, progress: commands.level(
                opened, where, session.confirm(yes, progress), progress
            ),
        )


@app.command()
def evaluate(
    run: o.RunFolder,
    teacher: o.Teachers = None,
    student: o.Student = "",
    local: o.Local = False,
    labelled: o.Labelled = None,
    trial: o.Trial = False,
    no_cache: o.NoCache = False,
    patience: o.Patience = 60.0,
) -> None:
    """Step 4: candidate against live on held-out records, and on a labelled set (any model: `mpa-orch datasets evaluate`)."""
    from services.orchestrator.cli import commands, session

    first, further = reach.teachers(reach.task_of(run), teacher)
    where = _where(
        first, student, local, patience, *(("teacher", "student") if labelled else ("student",))
    )
    where = replace(where, is_trial=trial, further_teachers=further, cache=_cache(no_cache))
    with _exit_codes(_again()):
        session.work(
            run, lambda opened, progress: commands.evaluate(opened, where, labelled, progress)
        )


@app.command()
def promote(
    run: o.RunFolder,
    student: o.Student = "",
    local: o.Local = False,
    force: o.Force = False,
    yes: o.Yes = False,
    patience: o.Patience = 60.0,
) -> None:
    """Step 5: the candidate goes live under traffic, if it is better."""
    from services.orchestrator.cli import commands, session

    where = _where("", student, local, patience, "student")
    with _exit_codes(_again()):
        session.work(
            run,
            lambda opened, progress: commands.promote(
                opened, where, session.confirm(yes or force, progress), progress, force=force
            ),
        )


@app.command()
def status(run: o.AnyRun = None) -> None:
    """What a run has done so far, at rest or at work; without RUN, as `mpa-orch runs list`."""
    from rich.console import Console

    from services.orchestrator.cli import commands
    from services.orchestrator.reports import summary as report

    if run is None:
        return cli_runs.list_all()
    with _exit_codes():
        report.show(commands.status(run), Console())


@app.command(name="rounds")
def show_rounds(run: o.RunFolder, as_json: o.Json = False) -> None:
    """What each round of a run found, brought and changed."""
    from rich.console import Console

    from services.orchestrator.cli import commands
    from services.orchestrator.reports import rounds as rounds_report

    with _exit_codes():
        summary = commands.status(run)
        if as_json:
            typer.echo(rounds_report.to_json(summary.rounds, summary.stopped))
        else:
            rounds_report.show(summary.rounds, summary.stopped, Console())


app.command()(cli_runs.matchers)
for command in (cli_services.rollback, cli_services.ask, cli_services.models, cli_services.serve):
    app.command()(command)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
