"""One command at work on one run: opens it, shows progress, then the summary."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import typer
from rich.console import Console

from services import tracing
from services.core.errors import InvalidInput, NothingToAlign
from services.core.pixels import UNLIMITED
from services.core.recipes import USUAL_RECIPE, Amendments, Recipe
from services.orchestrator.cli.request import RunRequest
from services.orchestrator.cli.usual import usual_budget
from services.orchestrator.images.opening import require_images
from services.orchestrator.images.store import settled
from services.orchestrator.reports import summary as report
from services.orchestrator.run.journal import Journal
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run, open_run, settings_of
from services.orchestrator.run.settings import Settings, new_settings
from services.orchestrator.run.summary import Summary, summarise
from services.orchestrator.steps.anchoring import read_questions
from services.orchestrator.steps.promotion import Confirm

T = TypeVar("T")

Steps = Callable[[Run, Progress], Coroutine[None, None, Summary]]


def settings(request: RunRequest) -> Settings:
    """Settings of the run that is requested.

    Unless they are named, recipe and pixel budget are the run's own; a new run takes the usual
    recipe and the budget of its student, which is asked for it. Raises as a client does.
    """
    stored = settings_of(request.folder)
    if stored:
        budget = stored.pixel_budget
    elif request.max_pixels == 0:
        budget = UNLIMITED
    else:
        require_images(settled(request.images))  # before the student is asked
        budget = usual_budget(request.where)
    if request.max_pixels is not None:
        budget = budget.of_most(request.max_pixels)
    chosen = new_settings(
        request.images,
        request.task,
        request.recipe or (stored.recipe.name if stored else USUAL_RECIPE),
        matcher=request.matcher,
        limit=request.limit,
        full_matrix=request.full_matrix,
        seed=request.seed,
        lora_rank=request.lora_rank,
        guided=request.guided,
        student_matcher=request.student_matcher,
        amendments=request.amendments,
        teachers=request.where.teachers,
    )
    chosen = replace(
        chosen,
        near_duplicates=request.near_duplicates,
        leak_check=leak_check(request.leak_check),
        redo_rejected=request.redo_rejected,
        focus=request.focus,
        anchor_questions=anchor_questions(request.anchor_questions, chosen.recipe),
        pilot=request.pilot,
        max_pixels=budget.max_pixels,
        side_multiple=budget.side_multiple,
    )
    return _as_begun(chosen, stored, request.amendments) if stored else chosen


def _as_begun(asked: Settings, stored: Settings, amendments: Amendments) -> Settings:
    """A run of an earlier release keeps the recipe as it was then, unless options change it."""
    if (asked.task, asked.recipe.name) != (stored.task, stored.recipe.name):
        return asked
    recipe = asked.recipe
    if amendments.loss is None and not stored.recipe.loss:
        recipe = replace(recipe, loss="")
    if asked.the_task.question and amendments.questions_per_image is None:
        recipe = replace(recipe, questions_per_image=stored.recipe.questions_per_image)
    return replace(asked, recipe=recipe)


def leak_check(sources: Sequence[str]) -> tuple[str, ...]:
    """The sources as a run stores them: equal for every order and working directory."""
    return tuple(sorted({settled(source) for source in sources}))


def anchor_questions(file: Path | None, recipe: Recipe) -> tuple[str, ...]:
    """Questions of the anchors of a recipe. Raises InvalidInput: it has none; see the reader."""
    if file is None:
        return ()
    if not recipe.anchor:
        raise InvalidInput(
            f"the recipe {recipe.name} has no anchors to ask the questions in {file} of: leave out "
            f"--anchor-questions, or add a weight of anchors (--recipe {recipe.name}+anchor-2)",
            field="anchor_questions",
        )
    return read_questions(file)


def work(folder: Path, steps: Steps, settings: Settings | None = None) -> None:
    """Takes the run in `folder` through `steps`; begins it if `settings` are given."""
    with open_run(folder, settings) as run:
        try:
            summary = gather(lambda progress: steps(run, progress), Journal(folder))
        except NothingToAlign:
            report.show(summarise(run.ledger), Console())
            raise
    report.show(summary, Console())
    typer.echo(f"run          {folder}")


def gather(
    steps: Callable[[Progress], Coroutine[None, None, T]], journal: Journal | None = None
) -> T:
    """Runs `steps`. SIGTERM ends them as Ctrl-C does, with the services that they started."""

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with (
            tracing.span(_command()),
            Progress(Console(stderr=True), journal) as progress,
        ):
            return await steps(progress)

    tracing.start("mpa-orch")
    return asyncio.run(main())


def _command() -> str:
    """Name of the command under way, without its arguments."""
    return " ".join(["mpa-orch", *(word for word in sys.argv[1:2] if word.isalpha())])


def confirm(assume_yes: bool, progress: Progress) -> Confirm:
    """Asks at a terminal. Without a terminal the answer is yes."""

    def ask(question: str) -> bool:
        if assume_yes or not sys.stdin.isatty():
            return True
        try:
            with progress.paused():
                return typer.confirm(question, default=True, err=True)
        except typer.Abort:
            raise KeyboardInterrupt from None

    return ask
