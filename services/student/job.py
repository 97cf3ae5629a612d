"""A training job as both processes know it: the service that owns it and the subprocess that does it.

STORE/jobs/<id>/job.json        what to do; written once by the service
STORE/jobs/<id>/progress.json   where it is; replaced by the subprocess
STORE/jobs/<id>/state.json      how it ended; replaced by the service
STORE/jobs/<id>/checkpoints/    to resume from
STORE/jobs/<id>/output/         the trained checkpoint; exists only once it is whole, and until it is a version
STORE/jobs/<id>/trainer.lock    locked by the one process that writes checkpoints and output
STORE/jobs/<id>/error.txt       why the subprocess gave up, if it could tell
STORE/jobs/<id>/log.txt
"""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from services.core.contract import Contract
from services.core.errors import Conflict, InvalidInput
from services.core.presets import Hyperparameters
from services.files import write_atomically
from services.student.execution import Execution
from services.student.records import read_record
from services.student.store import MANIFEST, Manifest

_log = logging.getLogger(__name__)
PATIENCE_S = 60.0
START_AGAIN = "start the training again under another request id"


@dataclass(frozen=True, slots=True)
class Job:
    """Everything the subprocess needs. Paths are absolute. `contract`: of the version that it makes."""

    id: str
    request_id: str
    base_version: str
    base_folder: str
    dataset: str
    run: str
    recipe: str
    contract: Contract
    hyperparameters: Hyperparameters
    store: str
    execution: Execution = field(default_factory=Execution)

    def write(self, folder: Path) -> None:
        write_atomically(folder / "job.json", json.dumps(asdict(self), indent=2))

    @staticmethod
    def read(folder: Path) -> Job:
        """Raises InvalidInput: a damaged file."""
        return read_record(Job, folder / "job.json", START_AGAIN, earlier=_with_contract)


def _with_contract(raw: dict[str, Any]) -> dict[str, Any]:
    """A job of an earlier release named the training template only: all else was the base version's."""
    if "contract" in raw:
        return raw
    base = Path(raw["base_folder"])
    contract = Manifest.read(base).contract if (base / MANIFEST).is_file() else Contract()
    known = {
        name: value
        for name, value in raw.items()
        if name not in ("training_template", "system_prompt")
    }
    return {
        **known,
        "contract": asdict(replace(contract, training_template=raw["training_template"])),
    }


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Optimizer steps, mean loss of late, samples per second, seconds left and seconds spent (all attempts)."""

    step: int = 0
    total_steps: int = 0
    loss: float = 0.0
    samples_per_second: float = 0.0
    eta_seconds: float = 0.0
    seconds: float = 0.0

    def write(self, folder: Path) -> None:
        write_atomically(folder / "progress.json", json.dumps(asdict(self)))

    @staticmethod
    def read(folder: Path) -> TrainingProgress:
        """Nothing yet where the file is damaged: it is only for people, and soon replaced."""
        path = folder / "progress.json"
        try:
            return (
                read_record(TrainingProgress, path, "the training goes on without it")
                if path.exists()
                else TrainingProgress()
            )
        except InvalidInput as error:
            _log.warning("%s", error)
            return TrainingProgress()


class Stopwatch:
    """Turns steps done into TrainingProgress, written at most once a second and at the end."""

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
            step, self._total_steps, loss, rate * self._batch_size, left, self._before_s + spent
        ).write(self._folder)


@contextmanager
def sole_trainer(folder: Path, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """One trainer of a job at a time. One that was orphaned a moment ago is about to end: it is waited for.

    Raises Conflict: another process has not ended within `patience_s`.
    """
    with (folder / "trainer.lock").open("w") as lock:
        end = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise Conflict(
                        f"another process still trains in {folder} after {patience_s:g} s: end it, then start this training "
                        "again",
                        reason="TRAINING_UNDER_WAY",
                    ) from error
            time.sleep(0.1)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # workers that were forked hold a copy of it


def partial_output(folder: Path) -> Path:
    """An empty place for the checkpoint; files of an earlier trainer are removed."""
    partial = folder / "output.partial"
    shutil.rmtree(partial, ignore_errors=True)
    return partial


def finish(folder: Path, partial: Path) -> None:
    """The checkpoint in `partial` is whole: from here on it is the job's output."""
    partial.rename(folder / "output")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
