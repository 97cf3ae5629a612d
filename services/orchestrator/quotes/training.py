"""What the training of a quote takes. A pilot trains nothing, so its time is told by an earlier training, or not at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.core.presets import PRESETS
from services.orchestrator.run.run import Run
from services.orchestrator.run.state import TrainingPace
from services.rpc.client import Student


@dataclass(frozen=True, slots=True)
class Training:
    """`steps`, `seconds`: None where nobody knows; `basis` says what they rest on, or why they are not known."""

    steps: int | None
    seconds: float | None
    basis: str


async def learn_pace(run: Run, student: Student) -> None:
    """Into the ledger, so that a quote is told again without services."""
    preset, trained = await student.trainings()
    alike = [one for one in trained if one.is_adapter == bool(run.settings.lora_rank)]
    known = PRESETS[preset].hyperparameters if preset in PRESETS else None
    pace = TrainingPace(known.batch_size, known.epochs) if known else TrainingPace()
    if alike:
        last = alike[-1]
        pace = TrainingPace(pace.batch_size, pace.epochs, last.version, last.seconds / last.steps)
    run.state.training_pace = pace


def predict_training(run: Run, gap: float, samples: float) -> Training:
    """On a parity set of so many `samples`, `gap` of them of the gap."""
    minimum = run.settings.recipe.minimum_gap
    if gap < minimum:
        return Training(
            0, 0.0, f"a gap of {gap:,.0f} samples is not trained on: the recipe wants {minimum}"
        )
    pace = run.state.training_pace
    if not pace.batch_size:
        return Training(None, None, "the student doesn't say with what it is trained")
    steps = math.ceil(samples / pace.batch_size) * pace.epochs
    if pace.step_s is None:
        way = (
            "adapters of this student were" if run.settings.lora_rank else "all of this student was"
        )
        return Training(
            steps, None, f"{way} never trained there, so nobody knows how long a step takes"
        )
    return Training(
        steps,
        steps * pace.step_s,
        f"{pace.step_s:.3g} s a step, as when {pace.version} was trained there",
    )
