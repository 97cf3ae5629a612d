"""Progress of a training, as its process writes it and the service reads it."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from services.core.errors import InvalidInput
from services.files import write_atomically
from services.student.records import read_record

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Contents of progress.json."""

    step: int = 0
    """Optimizer steps done."""
    total_steps: int = 0
    loss: float = 0.0
    """Mean loss of the latest steps."""
    samples_per_second: float = 0.0
    eta_seconds: float = 0.0
    """Estimated seconds left."""
    seconds: float = 0.0
    """Seconds spent, earlier attempts included."""

    def write(self, folder: Path) -> None:
        write_atomically(folder / "progress.json", json.dumps(asdict(self)))

    @staticmethod
    def read(folder: Path) -> TrainingProgress:
        """The progress so far; none if the file is damaged, since it is soon replaced."""
        path = folder / "progress.json"
        if not path.exists():
            return TrainingProgress()
        try:
            return read_record(TrainingProgress, path, "the training goes on without it")
        except InvalidInput as error:
            _log.warning("%s", error)
            return TrainingProgress()


class Stopwatch:
    """Clock of a training. It writes progress.json at most once a second, and at the end."""

    def __init__(self, folder: Path, batch_size: int, first_step: int, total_steps: int) -> None:
        self._folder = folder
        self._batch_size = batch_size
        self._first_step = first_step
        self._total_steps = total_steps
        self._before_s = TrainingProgress.read(folder).seconds
        self._started = time.monotonic()
        self._written = 0.0

    def report(self, step: int, loss: float) -> None:
        now = time.monotonic()
        if now - self._written < 1 and step < self._total_steps:
            return
        self._written = now
        spent = now - self._started
        rate = (step - self._first_step) / spent if spent else 0.0
        left = (self._total_steps - step) / rate if rate else 0.0
        TrainingProgress(
            step=step,
            total_steps=self._total_steps,
            loss=loss,
            samples_per_second=rate * self._batch_size,
            eta_seconds=left,
            seconds=self._before_s + spent,
        ).write(self._folder)
