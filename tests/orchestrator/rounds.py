"""Rounds on a bench: a student that improves with each training, and the ledger after the
command.
"""

from services.orchestrator.cli import commands
from services.orchestrator.rounds import StoppingRule
from services.orchestrator.run.run import open_run
from tests.orchestrator.conftest import bench, rows
from tests.orchestrator.scripted import ScriptedStudent

CELLS = "SELECT round, image_sha256, number, cell FROM records ORDER BY 1, 2, 3"


def improving(**fields) -> ScriptedStudent:
    """Skills of 40 %, then 60, 75 and 80."""
    return ScriptedStudent(trained_skill=0.6, trained_later=(0.75, 0.8), **fields)


def in_ledger(folder):
    """Finished calls, as both services count them; keys of the student's name a version."""
    annotated = rows(folder, "SELECT 'annotate', image_sha256, seed FROM annotations")
    answered = rows(
        folder, "SELECT 'answer', image_sha256, question FROM answers WHERE role = 'teacher'"
    )
    return (
        annotated
        + answered
        + rows(
            folder,
            "SELECT 'answer', image_sha256, question, version FROM answers WHERE role = 'student'",
        )
    )


async def align(b, at_most=3, until_gap=0.0, confirm=lambda _: True):
    with open_run(b.folder, b.settings) as opened, b.progress() as progress:
        return await commands.align(
            opened, b.where, b.labelled, confirm, progress, StoppingRule(at_most, until_gap)
        )


def rounds_bench(folder, pool, teacher=None, student=None, **settings):
    return bench(folder, pool, teacher, student or improving(), **settings)
