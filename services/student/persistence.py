"""The training program until it ends: started again after a kill, or a stop by nobody."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

from services.engines.host_memory import count_kills
from services.student.attempts import after_kill
from services.student.job import Job
from services.student.result import is_trained
from services.student.series import TrainingProcess

_log = logging.getLogger(__name__)
_AGAIN_AFTER_S = 3.0


async def run_to_end(process: TrainingProcess, folder: Path, *, stays: bool) -> int:
    """Do the job in `folder`, and return 0 or the exit code of its last process.

    `bentoml serve` passes its own SIGTERM to every child, so the service is probably about to stop,
    which ends the sleep. The job then resumes at the next start. After SIGKILL it continues at
    once. If the kernel sent it, or at the second one, memory ran out: the next attempt takes less,
    or the job ends.
    """
    kills = 0
    while True:
        before = count_kills()
        code = await process.do(folder, stays=stays)
        if code == -signal.SIGTERM:
            await asyncio.sleep(_AGAIN_AFTER_S)
        elif is_kill(code):
            kills += 1
            if kills > 1 or count_kills() > before:
                if not await asyncio.to_thread(_takes_less, folder):
                    return code
                kills = 0
            _log.warning("training %s was killed and continues", folder.name)
        else:
            return code


def is_kill(code: int) -> bool:
    """Whether a program with this exit code was killed, as the kernel does if memory runs out."""
    return code == -signal.SIGKILL


def _takes_less(folder: Path) -> bool:
    """Whether a next attempt is recorded. A job that has its weights makes none."""
    return not is_trained(folder) and after_kill(folder, Job.read(folder)) is not None


def last_words(folder: Path) -> str:
    """A training's error: its first and last line (CUDA names it first, a worker's copy last)."""
    said = next(path for path in (folder / "error.txt", folder / "log.txt") if path.is_file())
    lines = said.read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
    if said.name == "error.txt" and len(lines) > 1:
        return f"{lines[0]} ... {lines[-1]}"
    return lines[-1]
