"""The runs of an experiment: a teacher annotates each pool, and a student is asked.

The arms of one student and teacher share a run's ledger. The teacher cache makes the annotations
free for every further student.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from services.core.errors import WrongState
from services.core.pixels import UNLIMITED, PixelBudget
from services.core.presets import PRESETS
from services.files import write_atomically
from services.orchestrator import alignment, in_turn
from services.orchestrator.endpoints import connect
from services.orchestrator.experiments.experiment import Experiment, TaskEntry
from services.orchestrator.experiments.plan import RUNS, Pair
from services.orchestrator.experiments.site import Site
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run, open_run
from services.orchestrator.run.settings import Settings, new_settings
from services.orchestrator.run.state import Version
from services.orchestrator.steps.leaks import look_for_leaks
from services.rpc.client import Student


@dataclass(frozen=True, slots=True)
class Base:
    """The version of a student that every arm starts from: live when the experiment first asked."""

    version: str
    weights_sha256: str


def settings_of(experiment: Experiment, entry: TaskEntry, budget: PixelBudget) -> Settings:
    """The settings of the runs on an entry's pool."""
    chosen = new_settings(entry.pool, entry.task.name, experiment.recipe.name, limit=entry.limit)
    return replace(
        chosen,
        recipe=experiment.recipe.of_task(entry.task),
        max_pixels=budget.max_pixels,
        side_multiple=budget.side_multiple,
    )


def settle_budget(experiment: Experiment, student: str, out: Path) -> PixelBudget:
    """Pixel budget of a student's runs and trainings, recorded on the first call.

    It is that of the preset's image processor. What an earlier release began has none.
    """
    path = out / RUNS / student / "pixels.json"
    if not path.is_file():
        is_new = not path.parent.is_dir()
        own = PixelBudget.of_processor(PRESETS[student].image_processor) if is_new else UNLIMITED
        write_atomically(path, json.dumps(asdict(own)))
    usual = PixelBudget(**json.loads(path.read_text()))
    return usual.of_most(experiment.max_pixels) if experiment.max_pixels else usual


async def identify(
    experiment: Experiment, pairs: Sequence[Pair], site: Site, progress: Progress
) -> None:
    """Resume the runs of one student and one teacher. No service is started if all are done."""
    with ExitStack() as stack:
        runs = []
        for pair in pairs:
            entry = experiment.entries[pair.task]
            budget = settle_budget(experiment, pair.student, site.out)
            settings = settings_of(experiment, entry, budget)
            run = stack.enter_context(open_run(site.out / pair.path, settings))
            tests = [one for name in entry.test_on for one in experiment.entries[name].unseen]
            datasets = [dataset for test in tests for dataset in test.datasets]
            await look_for_leaks(run, None, progress, datasets)
            runs.append(replace(run, patience_s=site.patience_s))
        due = [run for run in runs if not run.state.identified]
        if due and site.takes_turns(pairs[0].teacher):
            await _in_turn(pairs[0], due, site, progress)
        elif due:
            await _side_by_side(pairs[0], due, site, progress)


async def _side_by_side(pair: Pair, runs: Sequence[Run], site: Site, progress: Progress) -> None:
    async with (
        site.up(progress, teacher=pair.teacher, student=pair.student) as where,
        connect.both(where, site.out, progress) as (teacher, student),
    ):
        for run in runs:
            await _begin(run, pair, student, site.out)
            progress.note(f"identify: {run.settings.task} by {pair.teacher} for {pair.student}")
            if where.is_ray:
                from services.orchestrator.distributed import flow

                await flow.annotate_and_identify(run, where, progress)
            await alignment.annotate_and_identify(run, teacher, student, progress)


async def _in_turn(pair: Pair, runs: Sequence[Run], site: Site, progress: Progress) -> None:
    """Keep one model in memory at a time, loaded once for all the runs."""
    async with (
        site.up(progress, teacher=pair.teacher) as where,
        connect.teacher_only(where, site.out, progress) as teacher,
    ):
        for run in runs:
            await alignment.annotate_only(run, teacher, progress)
    async with (
        site.up(progress, student=pair.student) as where,
        connect.student_only(where, site.out, progress) as student,
    ):
        for run in runs:
            await _begin(run, pair, student, site.out)
            await alignment.settle_base_version(run, student)
            if not run.state.answered:
                await in_turn.answer(run, student, progress)
    async with (
        site.up(progress, teacher=pair.teacher) as where,
        connect.teacher_only(where, site.out, progress) as teacher,
    ):
        for run in runs:
            await in_turn.decide(run, teacher, progress)


async def _begin(run: Run, pair: Pair, student: Student, out: Path) -> None:
    base = await settle_base(pair.student, student, out)
    if run.state.base is None:
        run.state.base = Version(base.version)


async def settle_base(name: str, student: Student, out: Path) -> Base:
    """The base version, recorded on the first call.

    Raises WrongState if the student at this address has other weights under that name.
    """
    path = out / RUNS / name / "base.json"
    if not path.is_file():
        version = await student.version((await student.pointers()).live)
        write_atomically(path, json.dumps(asdict(Base(version.name, version.weights_sha256))))
    base = Base(**json.loads(path.read_text()))
    found = await student.version(base.version)
    if found.weights_sha256 != base.weights_sha256:
        raise WrongState(
            f"version {base.version} of {name} at {student.address} has other weights than this "
            "experiment began with: name that student, or give another --out"
        )
    return base
