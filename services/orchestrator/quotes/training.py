"""Training time of a quote.

A pilot trains nothing, so an earlier training sets the pace, if any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.core.presets import PRESETS
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.orchestrator.run.state import TrainingPace
from services.orchestrator.steps.leveling import hyperparameters_of, usual_epochs
from services.rpc.client import Student


@dataclass(frozen=True, slots=True)
class Training:
    """`steps` and `seconds` are None if unknown; `basis` is their source, or the reason why not."""

    steps: int | None
    seconds: float | None
    basis: str


async def learn_pace(run: Run, student: Student, progress: Progress) -> None:
    """Stores the pace in the ledger, so that a repeated quote needs no services.

    Notes whether the training would fit into memory.
    """
    preset, trained = await student.trainings()
    chosen = hyperparameters_of(run.settings, usual_epochs(run.settings.recipe, preset))
    if plan := await student.plan_training(chosen):
        progress.note(f"level: {plan.reason}")
    same_way = [one for one in trained if one.is_adapter == bool(run.settings.lora_rank)]
    known = PRESETS[preset].hyperparameters if preset in PRESETS else None
    pace = TrainingPace(known.batch_size, known.epochs) if known else TrainingPace()
    if same_way:
        last = same_way[-1]
        pace = TrainingPace(pace.batch_size, pace.epochs, last.version, last.seconds / last.steps)
    run.state.training_pace = pace


def predict_training(run: Run, gap: float, samples: float) -> Training:
    """Predicts the training on a parity set of N `samples`, `gap` of them from the gap.

    A repeated training (+repair) counts each time, with the samples of the first. Each sample has
    an anchor if the recipe has them; the base's answers to these take a small part of a step.
    """
    minimum = run.settings.recipe.minimum_gap
    if gap < minimum:
        return Training(
            0, 0.0, f"no training with a gap of {gap:,.0f} samples: the recipe needs {minimum}"
        )
    pace = run.state.training_pace
    if not pace.batch_size:
        return Training(None, None, "the student's service doesn't report its training preset")
    recipe = run.settings.recipe
    epochs = recipe.epochs or pace.epochs
    rows = samples * (2 if recipe.anchor else 1)
    steps = math.ceil(rows / pace.batch_size) * epochs * (1 + recipe.repairs)
    if pace.step_s is None:
        way = (
            "adapters of this student" if run.settings.lora_rank else "all weights of this student"
        )
        return Training(
            steps, None, f"its service has not trained {way} yet, so the time of a step is unknown"
        )
    return Training(
        steps,
        steps * pace.step_s,
        f"{pace.step_s:.3g} s a step, as when {pace.version} was trained there",
    )
