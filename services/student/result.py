"""Result of a training, from the trained weights to the output that becomes a version.

STORE/jobs/<id>/output.partial/  the weights while they are written
STORE/jobs/<id>/trained/         the weights, complete and durable; the canaries may be missing
STORE/jobs/<id>/output/          the whole result; exists until it is a version

A training that is killed goes on from the folder that it finds.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from services.files import sync_files, sync_folder
from services.student import reference
from services.student.job import Job, sole_trainer

CANARY_WAYS = (
    reference.ReferenceWay(),
    reference.ReferenceWay(max_batch=8),
    reference.ReferenceWay("cpu", max_batch=8),
)
"""Ways of the reference engine, each in a fresh process after the memory of the last ran out."""


def partial_output(folder: Path) -> Path:
    """An empty folder for the weights; files of an earlier trainer are removed."""
    partial = folder / "output.partial"
    shutil.rmtree(partial, ignore_errors=True)
    return partial


def keep(folder: Path, partial: Path) -> None:
    """Make the weights in `partial` those of the job. Its checkpoints are removed."""
    sync_files(partial)
    partial.rename(folder / "trained")
    sync_folder(folder)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def is_trained(folder: Path) -> bool:
    """Whether the job in `folder` has its weights."""
    return (folder / "trained").is_dir() or (folder / "output").is_dir()


def complete(folder: Path, attempt: int = 0) -> None:
    """Compute the canaries of the trained weights, unless it is a trial: the last part of the job.

    No trainer should be in memory: the reference engine needs the device. `attempt`: number of
    earlier attempts, whose memory ran out.
    """
    way = CANARY_WAYS[attempt]
    with sole_trainer(folder):
        if not (folder / "output").is_dir():
            job = Job.read(folder)
            if not job.is_trial:
                asyncio.run(reference.compute_for_training(job, folder / "trained", way))
            (folder / "trained").rename(folder / "output")


def not_completed(folder: Path, error: BaseException) -> str:
    """Message for people: the weights are there, but there is no memory for their canaries."""
    return (
        f"the weights are trained and kept in {folder / 'trained'}, but there is too little memory "
        f"for their canaries, on the CPU too ({error}): free memory, then repeat the command, "
        "which continues from there"
    )
