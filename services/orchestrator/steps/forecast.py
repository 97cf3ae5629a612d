"""Forecast of a run's last steps, before its first image costs anything."""

from __future__ import annotations

from services.core.errors import WrongState
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.orchestrator.steps.anchoring import needs_new_service, require_new_service
from services.orchestrator.steps.evaluation import ONE_MODEL_FITS
from services.orchestrator.steps.guard_sets import guard_cases
from services.orchestrator.steps.leveling import hyperparameters_of, usual_epochs
from services.rpc.client import Student, TrainingPlan

TRAINING_DOES_NOT_FIT = "TRAINING_DOES_NOT_FIT"
"""Reason of a student whose devices have no room for the run's training."""


async def require_way_to_the_end(
    run: Run, student: Student, progress: Progress, *, may_try: bool
) -> None:
    """Ask the student whether it can be trained and judged as the run needs it.

    Nothing is asked once the training has begun, or of a service that is too old to tell.
    `may_try`: the candidate may answer in the live version's place. Raises WrongState with the
    advice of the service.
    """
    if run.state.candidate or run.state.training_begun:
        return
    if guards := guard_cases(run):
        count = sum(len(cases) for _, cases, _ in guards)
        progress.note(f"evaluate: {count:,} questions of guard sets, put to both versions")
    plan = await _plan(run, student)
    require_new_service(run.settings.recipe, plan, student.address)
    if plan is None:
        return
    if not plan.fits:
        raise WrongState(
            f"the student at {student.address} has no room for the run's training: {plan.reason}. "
            "No image was sent: change this, then repeat the command",
            reason=TRAINING_DOES_NOT_FIT,
        )
    _require_room_to_ask(run, student, plan)
    if not (plan.is_loadable or may_try):
        raise WrongState(
            f"the student at {student.address} has room for one model ({plan.swap_reason}), so "
            "`evaluate` could not load the candidate next to the live version. No image was sent: "
            "start the student with less memory for each version "
            "(MPA_STUDENT_MEMORY_SHARE=0.4, MPA_STUDENT_SWAP=auto), or let the candidate answer "
            "everybody while it is evaluated (--trial)",
            reason=ONE_MODEL_FITS,
        )
    progress.note(f"level: {plan.reason}")


async def require_way_to_level(run: Run, student: Student) -> None:
    """Ask the student whether it knows what the samples have, and can be asked what it trains.

    It is asked if the recipe needs one of both.
    Raises WrongState.
    """
    recipe = run.settings.recipe
    if not (recipe.repairs or needs_new_service(recipe)):
        return
    plan = await _plan(run, student)
    require_new_service(recipe, plan, student.address)
    if plan:
        _require_room_to_ask(run, student, plan)


async def _plan(run: Run, student: Student) -> TrainingPlan | None:
    preset, _ = await student.trainings()
    usual = usual_epochs(run.settings.recipe, preset)
    return await student.plan_training(hyperparameters_of(run.settings, usual))


def _require_room_to_ask(run: Run, student: Student, plan: TrainingPlan) -> None:
    recipe = run.settings.recipe
    if recipe.repairs and not plan.is_loadable:
        raise WrongState(
            f"the student at {student.address} has room for one model ({plan.swap_reason}), and "
            f"the recipe {recipe.name} asks each trained version its samples again next to the "
            "live version: give a recipe without +repair, and another --run",
            reason=ONE_MODEL_FITS,
        )
