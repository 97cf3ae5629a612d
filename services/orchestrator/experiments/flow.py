"""The whole experiment, top to bottom. Every step skips finished work: to resume, call it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from services.core.errors import WrongState
from services.core.memory import NO_ROOM
from services.orchestrator.endpoints.where import Where
from services.orchestrator.experiments.experiment import Experiment
from services.orchestrator.experiments.identified import identify
from services.orchestrator.experiments.judged import is_unjudged
from services.orchestrator.experiments.measured import is_due, measure, plan_tests
from services.orchestrator.experiments.plan import MeasuredModel, Pair, pairs, subjects
from services.orchestrator.experiments.site import Site
from services.orchestrator.experiments.trained import due_trainings, train_all
from services.orchestrator.experiments.uses import DrawUses
from services.orchestrator.run.progress import Progress
from services.orchestrator.scoring.conditions import ScoredEvaluation
from services.orchestrator.steps.evaluation import ONE_MODEL_FITS
from services.together import together


async def work(experiment: Experiment, site: Site, progress: Progress) -> None:
    """Work on each student in turn (runs, trainings, evaluations), then on each teacher."""
    uses = DrawUses(experiment, site.out)
    uses.require_no_choice()
    work = _Work(experiment, plan_tests(experiment), uses, site, progress)
    everybody = subjects(experiment)
    for student in experiment.students:
        own = [subject for subject in everybody if subject.student == student]
        needed = _needed_runs(experiment, own, site)
        for teacher in experiment.teachers:
            if due := [run for run in needed if run.teacher == teacher]:
                await identify(experiment, due, site, progress)
        await work.on(own)
    for teacher in experiment.teachers:
        taught = [subject for subject in everybody if subject.arm.is_teacher]
        await work.on([subject for subject in taught if subject.teacher == teacher])


def _needed_runs(experiment: Experiment, own: Sequence[MeasuredModel], site: Site) -> list[Pair]:
    """The runs of one student that a missing training, or a missing judgement, depends on."""
    missing = set(due_trainings(experiment, own, site.out))
    missing |= {subject for subject in own if is_unjudged(experiment, subject, site.out)}
    return [
        run
        for run in pairs(experiment)
        if any(subject.pair == run and subject.arm.needs_teacher for subject in missing)
    ]


FULL = frozenset({NO_ROOM, ONE_MODEL_FITS})
"""Reasons of a service without memory for another version, such as next to a training."""


@dataclass(frozen=True, slots=True)
class _Work:
    """Trainings and evaluations of one model, which is started here if work is left."""

    experiment: Experiment
    planned: Mapping[str, ScoredEvaluation]
    uses: DrawUses
    site: Site
    progress: Progress
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def on(self, own: Sequence[MeasuredModel]) -> None:
        """`own`: the subjects of one student or one teacher."""
        trainings = due_trainings(self.experiment, own, self.site.out)
        if self.site.is_single_device:
            await self._in_turn(own, trainings)
        else:
            await self._side_by_side(own, trainings)

    async def _in_turn(
        self, own: Sequence[MeasuredModel], trainings: Sequence[MeasuredModel]
    ) -> None:
        """Train all, then load a model to measure all: the device has room for one."""
        if trainings:
            async with self._up(trainings[0], is_serving=False) as where:
                async for _ in self._train(trainings, where):
                    pass
        if due := list(filter(self._is_due, own)):
            async with self._up(due[0]) as where:
                for subject in due:
                    await self._measure(subject, where)

    async def _side_by_side(
        self, own: Sequence[MeasuredModel], trainings: Sequence[MeasuredModel]
    ) -> None:
        """Measure each trained student while the next one trains."""
        due = [one for one in own if one not in trainings and self._is_due(one)]
        if not due and not trainings:
            return
        ready: asyncio.Queue[MeasuredModel | None] = asyncio.Queue()
        later: list[MeasuredModel] = []
        async with self._up((*due, *trainings)[0]) as where:

            async def train() -> None:
                async for subject in self._train(trainings, where):
                    ready.put_nowait(subject)
                ready.put_nowait(None)

            async def measure_trained() -> None:
                while (subject := await ready.get()) is not None:
                    try:
                        await self._measure(subject, where)
                    except WrongState as error:
                        if error.reason not in FULL:
                            raise
                        self.progress.note(f"{subject} is measured after the trainings: {error}")
                        later.append(subject)

            for subject in due:
                if subject.arm.is_trained:
                    ready.put_nowait(subject)
                else:
                    await self._measure(subject, where)  # alone: it is also timed
            async with together() as tasks:
                tasks.create_task(train())
                tasks.create_task(measure_trained())
            for subject in later:
                await self._measure(subject, where)

    def _is_due(self, subject: MeasuredModel) -> bool:
        return is_due(self.experiment, subject, self.planned, self.site.out)

    def _up(
        self, subject: MeasuredModel, *, is_serving: bool = True
    ) -> AbstractAsyncContextManager[Where]:
        teacher = "" if subject.student else subject.teacher
        return self.site.up(
            self.progress, teacher=teacher, student=subject.student, is_serving=is_serving
        )

    def _train(
        self, trainings: Sequence[MeasuredModel], where: Where
    ) -> AsyncIterator[MeasuredModel]:
        return train_all(
            self.experiment, trainings, where, self.site.out, self.progress, self.asking
        )

    async def _measure(self, subject: MeasuredModel, where: Where) -> None:
        async with self.asking:
            await measure(
                self.experiment,
                subject,
                self.planned,
                self.uses,
                where,
                self.site.out,
                self.progress,
            )
