"""Questions of a run put to one trained student, in the run's words."""

from __future__ import annotations

from collections.abc import Sequence

from services.orchestrator.run.bounded import images_at_once
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.orchestrator.scoring.respondents import RespondentChoice, respondent
from services.orchestrator.steps.questioning import Case, sit
from services.rpc.client import Picture


async def answers_of(
    run: Run, cases: Sequence[Case], asked: RespondentChoice, name: str, progress: Progress
) -> list[tuple[Case, str]]:
    """Each case that could be asked, with the answer. `name`: name of the stage for people."""
    recipe = run.settings.recipe
    async with respondent(asked, progress) as model:

        async def answer(picture: Picture, question: str) -> str:
            said = await model.answer(
                picture, question, recipe.answer_template, recipe.answer_decoding
            )
            return said.answer

        at_once = images_at_once(model.in_flight, run.settings.pixel_budget)
        read = run.reading(run.find_images())
        exam = await sit(read, cases, {"student": answer}, progress, name, at_once)
    return [(sat.case, sat.answers["student"]) for sat in exam.sat]
