"""One command at work on one run: opens it, shows progress meanwhile and the summary after."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import typer
from rich.console import Console

from services.core.errors import NothingToAlign
from services.core.presets import PRESETS
from services.core.recipes import AS_IT_IS, Amendments
from services.orchestrator.endpoints.where import Where
from services.orchestrator.images.opening import require_images
from services.orchestrator.images.store import settled
from services.orchestrator.reports import summary as report
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run, open_run, settings_of
from services.orchestrator.run.settings import Settings, new_settings
from services.orchestrator.run.summary import Summary, summarise
from services.orchestrator.steps.promotion import Confirm
from services.rpc.client import StudentClient

T = TypeVar("T")

Steps = Callable[[Run, Progress], Coroutine[None, None, Summary]]


def settings(
    folder: Path,
    images: str,
    task: str,
    recipe: str,
    matcher: str,
    limit: int,
    full_matrix: bool,
    seed: int,
    lora_rank: int = 0,
    guided: bool = False,
    student_matcher: str = "",
    amendments: Amendments = AS_IT_IS,
    *,
    where: Where,
) -> Settings:
    """Unless it is named, the recipe is the run's own; a new run's is that of its student's preset. Raises as a client does."""
    stored = settings_of(folder)
    if not recipe and stored is None:
        require_images(settled(images))  # before anyone is asked
    chosen = recipe or (stored.recipe.name if stored else usual_recipe(where))
    asked = (
        images,
        task,
        chosen,
        matcher,
        limit,
        full_matrix,
        seed,
        lora_rank,
        guided,
        student_matcher,
    )
    found = new_settings(*asked, amendments, where.teachers)
    return _as_begun(found, stored, amendments) if stored else found


def usual_recipe(where: Where) -> str:
    """The recipe of the student's preset: of the service at its address, or of the one that starts here; else `paper`."""
    if where.starts("student"):
        return PRESETS.get(os.environ.get("MPA_STUDENT_PRESET", ""), PRESETS["bundled"]).recipe
    preset = PRESETS.get(asyncio.run(_preset_of(where))) if where.student else None
    return preset.recipe if preset else "paper"


async def _preset_of(where: Where) -> str:
    async with StudentClient(where.student, patience_s=where.patience_s) as student:
        preset, _ = await student.trainings()
    return preset


def _as_begun(asked: Settings, stored: Settings, amendments: Amendments) -> Settings:
    """A run of an earlier release goes on by the recipe as it was then, unless an option names another."""
    if (asked.task, asked.recipe.name) != (stored.task, stored.recipe.name):
        return asked
    recipe = asked.recipe
    if amendments.loss is None and not stored.recipe.loss:
        recipe = replace(recipe, loss="")
    if asked.the_task.question and amendments.questions_per_image is None:
        recipe = replace(recipe, questions_per_image=stored.recipe.questions_per_image)
    return replace(asked, recipe=recipe)


def leak_check(sources: Sequence[str] | None) -> tuple[str, ...]:
    """As a run keeps them: the same wherever its command is repeated."""
    return tuple(sorted({settled(source) for source in sources or ()}))


def work(folder: Path, steps: Steps, settings: Settings | None = None) -> None:
    """Takes the run in `folder` through `steps`; begins it where `settings` are given."""
    with open_run(folder, settings) as run:
        try:
            summary = gather(lambda progress: steps(run, progress))
        except NothingToAlign:
            report.show(summarise(run.ledger), Console())
            raise
    report.show(summary, Console())
    typer.echo(f"run          {folder}")


def gather(steps: Callable[[Progress], Coroutine[None, None, T]]) -> T:
    """Runs `steps`; SIGTERM ends them as Ctrl-C does, services that were started included."""

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with Progress(Console(stderr=True)) as progress:
            return await steps(progress)

    return asyncio.run(main())


def confirm(assume_yes: bool, progress: Progress) -> Confirm:
    """Asks at a terminal; without one nobody could answer, so it is a yes."""

    def ask(question: str) -> bool:
        if assume_yes or not sys.stdin.isatty():
            return True
        try:
            with progress.paused():
                return typer.confirm(question, default=True, err=True)
        except typer.Abort:
            raise KeyboardInterrupt from None

    return ask
