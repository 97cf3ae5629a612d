"""Notes about a run's pixel budget, if one of its models sees images differently."""

from __future__ import annotations

from services.core.pixels import UNLIMITED, PixelBudget
from services.orchestrator.endpoints.panel import panel_of
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.rpc.client import StudentVersion, Teacher


async def compare_teacher(run: Run, teacher: Teacher, progress: Progress) -> None:
    """Notes the budget, and each teacher that uses fewer pixels than it is sent."""
    budget = run.settings.pixel_budget
    if budget == UNLIMITED:
        return
    progress.note(f"pixels: larger images than {budget} are shrunk, for both models")
    for member in panel_of(teacher):
        model = await member.model()
        own = PixelBudget.of(model.pixel_budget if model else "")
        if 0 < own.max_pixels < budget.max_pixels:
            progress.note(
                f"pixels: the run sends images of up to {budget}, and the teacher at "
                f"{member.address} uses at most {own}: it sees less than it could. Give "
                f"--max-pixels {own.max_pixels}, or a teacher with a larger image processor"
            )


def compare_student(run: Run, version: StudentVersion, progress: Progress) -> None:
    """Notes a student that uses more pixels of a user's image than it is trained on."""
    budget = run.settings.pixel_budget
    own = PixelBudget.of(version.contract.pixel_budget)
    if 0 < budget.max_pixels < own.max_pixels:
        progress.note(
            f"pixels: the run trains {version.name} on images of up to {budget}, and it uses up "
            f"to {own} of a user's image: shrink users' images to the same size"
        )
