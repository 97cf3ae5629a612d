"""The stages of a run under way, in RUN/stages.json, for people who look on.

It is no part of the run: nothing reads it to continue, and a fault of the disk costs a line only.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "stages.json"
EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class StageProgress:
    """A stage. `total` and `left_s` are None if they aren't known.

    `remark`: the cells so far, or the loss of a training.
    """

    name: str
    unit: str
    done: int
    total: int | None
    per_s: float
    left_s: float | None
    remark: str
    is_over: bool = False


class Journal:
    """Writer of one command's stages, at most once in EVERY_S seconds."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._stages: dict[str, StageProgress] = {}
        self._written_at = float("-inf")
        with suppress(OSError):  # stages of the command before
            self._path.unlink(missing_ok=True)

    def note(self, stage: StageProgress) -> None:
        begins = stage.name not in self._stages
        self._stages[stage.name] = stage
        now = time.monotonic()
        if begins or stage.is_over or now - self._written_at >= EVERY_S:
            self._written_at = now
            self._write()

    def _write(self) -> None:
        text = json.dumps([asdict(stage) for stage in self._stages.values()])
        written = self._path.with_name(f".{FILE}")
        with suppress(OSError):
            written.unlink(missing_ok=True)
            with written.open("x") as file:  # never through a link of a stranger's run
                file.write(text)
            written.replace(self._path)


def read_journal(folder: Path) -> tuple[StageProgress, ...]:
    """Stages of the latest command on a run, in their order; none if there is no readable file."""
    try:
        found = json.loads((folder / FILE).read_bytes())
        return tuple(StageProgress(**stage) for stage in found)
    except (OSError, ValueError, TypeError, RecursionError):
        return ()
