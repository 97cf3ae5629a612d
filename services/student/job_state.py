"""State of a training job, as the service keeps it.

The weights that a job no longer needs are removed when it ends.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from services.core.errors import InvalidInput
from services.files import write_atomically
from services.student.job import BASE_ANSWERS, START_AGAIN, Job
from services.student.records import read_record
from services.student.sample_losses import remove_losses


class Phase(StrEnum):
    """Phases of a job. The last three are final."""

    TRAINING = "training"
    SAVING = "saving"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({Phase.DONE, Phase.FAILED, Phase.CANCELLED})
_CHECKPOINTS = ("checkpoints", "output.partial")
_RESULT = ("trained", "output")


@dataclass(frozen=True, slots=True)
class JobState:
    """`version` is set once the version is stored, `error` when failed."""

    phase: Phase
    version: str = ""
    error: str = ""

    @staticmethod
    def read(folder: Path) -> JobState:
        """State of a job: FAILED, with the reason, if its file or the job's is damaged."""
        path = folder / "state.json"
        try:
            if path.exists():
                way_out = f"check whether it made a version; if not, {START_AGAIN}"
                return read_record(JobState, path, way_out)
            Job.read(folder)
        except InvalidInput as error:
            return JobState(Phase.FAILED, error=str(error))
        return JobState(Phase.TRAINING)

    def write(self, folder: Path) -> None:
        """Raises MpaError: the disk is full or broken."""
        write_atomically(folder / "state.json", json.dumps(asdict(self)))

    def tidy(self, folder: Path) -> None:
        """Remove the weights that the job no longer needs.

        A stored version has them all, and a cancelled job leaves nothing. A failed job leaves no
        checkpoints, since a repeated training starts from its base, but it keeps a trained result,
        from which a repeated request continues.
        """
        has_ended = self.phase in FINAL or bool(self.version)
        if has_ended:  # a repeated training is another job
            (folder / BASE_ANSWERS).unlink(missing_ok=True)
        for part in _CHECKPOINTS if has_ended else ():
            shutil.rmtree(folder / part, ignore_errors=True)
        for part in _RESULT if has_ended and self.phase is not Phase.FAILED else ():
            shutil.rmtree(folder / part, ignore_errors=True)
        if has_ended and not (self.version or any((folder / part).is_dir() for part in _RESULT)):
            remove_losses(folder)
