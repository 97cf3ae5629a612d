"""Trained students on held-out records, which are all that a user has to choose settings by."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from services.files import write_atomically
from services.orchestrator.experiments.exam import answers_of
from services.orchestrator.experiments.experiment import Experiment
from services.orchestrator.experiments.plan import MeasuredModel
from services.orchestrator.experiments.trained import TrainedArm
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import read_run
from services.orchestrator.scoring.respondents import RespondentChoice
from services.orchestrator.steps.evaluation import held_out_cases

HELD_OUT = "held-out.json"


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """Share of held-out records, 0 to 1, that a student answers as they are annotated.

    `questions`: number of records that a model confirmed and whose image could be read.
    """

    score: float
    questions: int

    @staticmethod
    def read(folder: Path) -> HeldOutScore | None:
        path = folder / HELD_OUT
        if not path.is_file():
            return None
        return HeldOutScore(**json.loads(path.read_text(encoding="utf-8")))


def is_unjudged(experiment: Experiment, subject: MeasuredModel, out: Path) -> bool:
    """Are held-out records left to ask of a trained student? Human labels have none."""
    if not (experiment.recipe.held_out and subject.arm.is_trained and subject.arm.needs_teacher):
        return False
    trained = TrainedArm.read(out / subject.path)
    is_trained = trained is None or not trained.reason
    return is_trained and HeldOutScore.read(out / subject.path) is None


async def judge(
    subject: MeasuredModel, asked: RespondentChoice, out: Path, progress: Progress
) -> None:
    """Score a student as a run's promotion does: by the run's words, matcher and pixel budget."""
    with read_run(out / subject.pair.path) as run:
        matches = run.settings.the_matcher.matches
        sat = await answers_of(run, held_out_cases(run), asked, "held out", progress)
    right = sum(matches(answer, case.references[0]) for case, answer in sat)
    found = HeldOutScore(right / len(sat) if sat else 0.0, len(sat))
    write_atomically(out / subject.path / HELD_OUT, json.dumps(asdict(found)) + "\n")
