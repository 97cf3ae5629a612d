"""The size of images that a command leaves open: a new run takes that of its student."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from services.core.pixels import UNLIMITED, PixelBudget
from services.engines.checkpoint import pixel_budget
from services.engines.choice import Choice
from services.environment import Environment
from services.orchestrator.endpoints.where import Where
from services.rpc.client import StudentClient


def usual_budget(where: Where) -> PixelBudget:
    """The budget of the student's image processor; none if no student is named, or none is known.

    The checkpoint is the environment's if the student starts here, else that of the service.
    Raises InvalidInput: the environment is wrong. Raises as a client does.
    """
    if where.starts("student"):
        choice = Choice.from_environment(Environment("MPA_STUDENT_", os.environ), "student")
        folder = Path(choice.model)
        sizes = json.loads(pixel_budget(folder) or "{}") if folder.is_dir() else {}
        return PixelBudget.of_processor({**sizes, **choice.preset.image_processor})
    return asyncio.run(_budget_of(where)) if where.student else UNLIMITED


async def _budget_of(where: Where) -> PixelBudget:
    async with StudentClient(where.student, patience_s=where.patience_s) as student:
        live = (await student.pointers()).live
        sizes = (await student.version(live)).contract.pixel_budget if live else ""
    return PixelBudget.of(sizes)
