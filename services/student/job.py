"""A training job as both processes know it: the service that owns it and the subprocess that does it.

STORE/jobs/<id>/job.json        what to do; written once by the service
STORE/jobs/<id>/progress.json   where it is; replaced by the subprocess
STORE/jobs/<id>/state.json      how it ended; replaced by the service
STORE/jobs/<id>/checkpoints/    to resume from
STORE/jobs/<id>/output/         the trained checkpoint; exists only once it is whole
STORE/jobs/<id>/error.txt       why the subprocess gave up, if it could tell
STORE/jobs/<id>/log.txt
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from services.core.contract import Contract
from services.core.presets import Hyperparameters
from services.files import write_atomically
from services.student.execution import Execution
from services.student.store import MANIFEST, Manifest


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
        raw = json.loads((folder / "job.json").read_text())
        hyperparameters = Hyperparameters(**raw.pop("hyperparameters"))
        execution = Execution(**raw.pop("execution", {}))
        contract = Contract(**raw.pop("contract")) if "contract" in raw else _earlier_contract(raw)
        return Job(**raw, contract=contract, hyperparameters=hyperparameters, execution=execution)


def _earlier_contract(raw: dict[str, Any]) -> Contract:
    """From a job of an earlier release, which named the training template only: all else was the base version's."""
    raw.pop("system_prompt", "")
    base = Path(raw["base_folder"]) / MANIFEST
    contract = Manifest.parse(base.read_text()).contract if base.is_file() else Contract()
    return replace(contract, training_template=raw.pop("training_template"))


@dataclass(frozen=True, slots=True)
class Progress:
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
    def read(folder: Path) -> Progress:
        path = folder / "progress.json"
        return Progress(**json.loads(path.read_text())) if path.is_file() else Progress()


class Stopwatch:
    """Turns steps done into Progress, written at most once a second and at the end."""

    def __init__(self, folder: Path, batch_size: int, first_step: int, total_steps: int) -> None:
        self._folder = folder
        self._batch_size = batch_size
        self._first_step = first_step
        self._total_steps = total_steps
        self._before_s = Progress.read(folder).seconds
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
        Progress(step, self._total_steps, loss, rate * self._batch_size, left, self._before_s + spent).write(self._folder)


def die_with_parent() -> None:
    """Ends this process within a second of its parent's death: an orphaned training would fight its own resumption."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
