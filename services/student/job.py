"""Folder of a training job, shared by the service that owns it and the subprocess that trains.

STORE/jobs/<id>/job.json        the task; written once by the service
STORE/jobs/<id>/progress.json   see progress.py; replaced by the subprocess
STORE/jobs/<id>/state.json      see job_state.py; replaced by the service
STORE/jobs/<id>/checkpoints/    to resume from
STORE/jobs/<id>/base_answers.safetensors    see base_answers.py, if the data set has anchors
STORE/jobs/<id>/trained/        the result on its way to a version: see result.py
STORE/jobs/<id>/output/
STORE/jobs/<id>/trainer.lock    locked by the one process that writes checkpoints and output
STORE/jobs/<id>/error.txt       reason of a failure, if the subprocess could name it
STORE/jobs/<id>/log.txt
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from services.core.contract import Contract
from services.core.errors import Conflict
from services.core.presets import Hyperparameters
from services.files import write_atomically
from services.student.execution import Execution
from services.student.manifest import MANIFEST, Manifest
from services.student.records import read_record

BASE_ANSWERS = "base_answers.safetensors"
PATIENCE_S = 60.0
START_AGAIN = "start the training again under another request id"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """A training as a caller asks for it, defaults filled in."""

    dataset: str
    base_version: str
    contract: Contract
    """Contract of the version to be made."""
    hyperparameters: Hyperparameters
    request_id: str = ""
    run: str = ""
    recipe: str = ""
    key: str = ""
    """Id of the caller's key; "" if the service had no keys."""
    is_trial: bool = False
    """Whether the version is only to be measured: it gets no canaries, and never goes live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(TrainingRequest):
    """Everything that the subprocess needs. Paths are absolute."""

    id: str
    base_folder: str
    store: str
    execution: Execution = field(default_factory=Execution)

    @staticmethod
    def of_request(
        request: TrainingRequest, *, id: str, base: Path, store: Path, execution: Execution
    ) -> Job:
        """The job that carries out a request, on the files of version `base`."""
        asked = {part.name: getattr(request, part.name) for part in fields(TrainingRequest)}
        return Job(
            **asked,
            id=id,
            base_folder=str(base.resolve()),
            store=str(store.resolve()),
            execution=execution,
        )

    def write(self, folder: Path) -> None:
        write_atomically(folder / "job.json", json.dumps(asdict(self), indent=2))

    @staticmethod
    def read(folder: Path) -> Job:
        """Raises InvalidInput: a damaged file."""
        return read_record(Job, folder / "job.json", START_AGAIN, earlier=_with_contract)


def _with_contract(raw: dict[str, Any]) -> dict[str, Any]:
    """Add the contract to a job of an earlier release: its base's, with the job's template."""
    if "contract" in raw:
        return raw
    base = Path(raw["base_folder"])
    contract = Manifest.read(base).contract if (base / MANIFEST).is_file() else Contract()
    known = dict(raw)
    known.pop("system_prompt", None)
    contract = replace(contract, training_template=known.pop("training_template"))
    return {**known, "contract": asdict(contract)}


@contextmanager
def sole_trainer(folder: Path, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the lock of a job's only trainer. An orphaned trainer gets time to end.

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
                        f"another process still trains in {folder} after {patience_s:g} s: "
                        "end it, then start this training again",
                        reason="TRAINING_UNDER_WAY",
                    ) from error
            time.sleep(0.1)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # forked workers hold a copy of it
