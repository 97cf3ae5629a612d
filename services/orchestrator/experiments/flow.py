"""The whole experiment, top to bottom. Every step skips finished work: to resume, call it again."""

from __future__ import annotations

from services.orchestrator.experiments.experiment import Experiment
from services.orchestrator.experiments.identified import identify
from services.orchestrator.experiments.measured import measure_all, plan_tests
from services.orchestrator.experiments.plan import pairs, subjects
from services.orchestrator.experiments.site import Site
from services.orchestrator.experiments.trained import train_all
from services.orchestrator.experiments.uses import DrawUses
from services.orchestrator.run.progress import Progress


async def work(experiment: Experiment, site: Site, progress: Progress) -> None:
    """Work on each student in turn (runs, trainings, evaluations), then on each teacher."""
    DrawUses(experiment, site.out).require_no_choice()
    planned = plan_tests(experiment)
    runs = pairs(experiment)
    everybody = subjects(experiment)
    for student in experiment.students:
        for teacher in experiment.teachers:
            if due := [run for run in runs if (run.student, run.teacher) == (student, teacher)]:
                await identify(experiment, due, site, progress)
        own = [subject for subject in everybody if subject.student == student]
        await train_all(
            experiment, [subject for subject in own if subject.arm.is_trained], site, progress
        )
        await measure_all(experiment, own, planned, site, progress)
    for teacher in experiment.teachers:
        own = [
            subject
            for subject in everybody
            if subject.arm.is_teacher and subject.teacher == teacher
        ]
        if own:
            await measure_all(experiment, own, planned, site, progress)
