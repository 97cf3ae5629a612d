"""Choices that a command leaves open: a new run takes those of its student."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path

from services.core.pixels import UNLIMITED, PixelBudget
from services.core.presets import PRESETS
from services.engines.checkpoint import pixel_budget
from services.engines.choice import Choice
from services.environment import Environment
from services.orchestrator.endpoints.where import Where
from services.rpc.client import StudentClient


@dataclass(frozen=True, slots=True)
class UsualChoices:
    """Choices of a run whose command leaves them open."""

    recipe: str = "paper"
    pixel_budget: PixelBudget = UNLIMITED

    def budget(self, max_pixels: int | None) -> PixelBudget:
        """The budget of `max_pixels` for the student's image processor; None is the usual one."""
        own = self.pixel_budget
        return own if max_pixels is None else own.of_most(max_pixels)


def usual_choices(where: Where) -> UsualChoices:
    """The recipe of the student's preset, and the budget of its image processor.

    The preset and the checkpoint are the environment's if the student starts here, else those of
    the service. `paper` and no budget if no student is named, or if they are unknown. Raises
    InvalidInput: the environment is wrong.
    """
    if where.starts("student"):
        choice = Choice.from_environment(Environment("MPA_STUDENT_", os.environ), "student")
        folder = Path(choice.model)
        sizes = json.loads(pixel_budget(folder) or "{}") if folder.is_dir() else {}
        budget = PixelBudget.of_processor({**sizes, **choice.preset.image_processor})
        return UsualChoices(choice.preset.recipe, budget)
    return asyncio.run(_choices_of(where)) if where.student else UsualChoices()


async def _choices_of(where: Where) -> UsualChoices:
    async with StudentClient(where.student, patience_s=where.patience_s) as student:
        name, _ = await student.trainings()
        live = (await student.pointers()).live
        sizes = (await student.version(live)).contract.pixel_budget if live else ""
    preset = PRESETS.get(name)
    return UsualChoices(preset.recipe if preset else "paper", PixelBudget.of(sizes))
