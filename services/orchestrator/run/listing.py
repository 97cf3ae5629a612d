"""List of the runs, one line each, and deletion of a run."""

from __future__ import annotations

import fcntl
import shutil
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import Conflict, MpaError
from services.orchestrator.run.ledger import Ledger, counts
from services.orchestrator.run.run import is_at_work, locked, read_run, require_run
from services.orchestrator.run.state import State

AT_WORK = "at_work"
UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A line of the list.

    `state`: the run's outcome, "unfinished", AT_WORK or UNREADABLE (`trouble` has the
    reason). `gain`: accuracy of the candidate minus that of the version before, if the
    last round was evaluated; on labels if there are any. `size_bytes` of the whole
    folder.
    """

    run: str
    """Folder of the run."""
    state: str
    """The run's outcome, "unfinished", AT_WORK or UNREADABLE."""
    trouble: str = ""
    """Reason why the run is unreadable."""
    task: str = ""
    recipe: str = ""
    round: int = 1
    """The round at work, or the last one."""
    images: int = 0
    """Accepted images."""
    parity_set: int = 0
    """Number of training samples."""
    gain: float | None = None
    """Accuracy of the candidate minus that of the base version, on labels if there are any.

    None if the last round was not evaluated.
    """
    size_bytes: int = 0
    """Size of the whole folder."""


def list_runs(root: Path) -> list[ListedRun]:
    """Every run directly in `root`, by name, including those that can't be read."""
    return [describe(path.parent) for path in sorted(root.glob("*/ledger.sqlite"))]


def describe(folder: Path) -> ListedRun:
    """Describes a run at once, however large it is: only counts with an index are used."""
    state = AT_WORK if is_at_work(folder) else ""
    try:
        with read_run(folder) as run:
            ledger = run.ledger
            return ListedRun(
                str(folder),
                state or run.state.outcome or "unfinished",
                task=run.settings.task,
                recipe=run.settings.recipe.name,
                round=ledger.round,
                images=counts.accepted_images(ledger),
                parity_set=run.state.parity_set or 0,
                gain=gain(ledger),
                size_bytes=_size_bytes(folder),
            )
    except MpaError as error:
        return ListedRun(
            str(folder), state or UNREADABLE, str(error), size_bytes=_size_bytes(folder)
        )


def gain(ledger: Ledger) -> float | None:
    evaluation = State(ledger).evaluation
    if evaluation is None:
        return None
    comparison = evaluation.labelled.comparison if evaluation.labelled else evaluation.held_out
    return comparison.overall.after - comparison.overall.before


def _size_bytes(folder: Path) -> int:
    return sum(
        path.lstat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )


def require_deletable(folder: Path) -> None:
    """Raises NotFound if it is no run, Conflict if an orchestrator or a student service uses it."""
    require_run(folder)
    with locked(folder):
        _require_idle_student(folder)


def delete(folder: Path) -> None:
    """Deletes the run. Raises as `require_deletable` does.

    The folder is renamed first: even if deletion is interrupted, nobody takes it for a
    run.
    """
    folder = folder.resolve()
    require_run(folder)
    with locked(folder):
        _require_idle_student(folder)
        doomed = folder.with_name(f".{folder.name}.deleted")
        try:
            folder.replace(doomed)
            shutil.rmtree(doomed)
        except OSError as error:
            raise MpaError(
                f"{folder} can't be deleted ({error.strerror}): {error.filename}"
            ) from error


def _require_idle_student(folder: Path) -> None:
    try:
        with (folder / "student" / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return
    except BlockingIOError as error:
        raise Conflict(
            f"a student service has its versions in {folder / 'student'}: stop it, or keep the run"
        ) from error
