"""Training for the fake engine: the same steps and resumption, but only the skill grows.

    python -m services.student.fake_training STORE/jobs/<id>

MPA_FAKE_GAIN is the gain in skill (default 0.3). A negative gain makes a worse student, to try out
the refusal. Each step takes MPA_FAKE_STEP_S seconds (default 0.01).
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from services.engines.fake import FakeModel, true_answer
from services.files import write_atomically
from services.student.datasets import DatasetStore, TrainingSample
from services.student.job import Job, sole_trainer
from services.student.manifest import ADAPTER
from services.student.progress import Stopwatch
from services.student.result import complete, is_trained, keep, partial_output
from services.student.sample_losses import SampleLosses
from services.student.series import jobs_of


def train(folder: Path) -> None:
    """Do the job in `folder`, from its last checkpoint if there is one."""
    with sole_trainer(folder):
        if not is_trained(folder):
            _train(folder)
    complete(folder)


def _train(folder: Path) -> None:
    job = Job.read(folder)
    settings = job.hyperparameters
    samples = DatasetStore(Path(job.store)).samples(job.dataset)
    steps = math.ceil(len(samples) / settings.batch_size) * settings.epochs
    checkpoint = folder / "checkpoints" / "step"
    done = int(checkpoint.read_text()) if checkpoint.is_file() else 0
    watch = Stopwatch(folder, settings.batch_size, done, steps)
    for step in range(done + 1, steps + 1):
        time.sleep(float(os.environ.get("MPA_FAKE_STEP_S", "0.01")))
        write_atomically(checkpoint, str(step))
        watch.report(step, 1 / step)
    _note_losses(samples, settings.epochs).write(folder)
    base = FakeModel.read(Path(job.base_folder))
    gain = float(os.environ.get("MPA_FAKE_GAIN", "0.3"))
    partial = partial_output(folder)
    trained = replace(base, skill=min(1.0, max(0.0, base.skill + gain)))
    trained.write(partial)
    if settings.lora_rank:
        trained.write(partial / ADAPTER)
    keep(folder, partial)


def _note_losses(samples: Sequence[TrainingSample], epochs: int) -> SampleLosses:
    """Losses that fall by epoch; those of wrong answers stay high, as with a real model."""
    losses = SampleLosses.unknown(epochs, len(samples))
    for place, sample in enumerate(samples):
        is_right = sample.answer == true_answer(sample.image_sha256, sample.question)
        for epoch in range(epochs if not sample.anchor else 0):
            losses.note(epoch, place, (0.5 if is_right else 4.0) / (1 + epoch))
    return losses


if __name__ == "__main__":
    for job in jobs_of(sys.argv[1:]):
        train(job)
