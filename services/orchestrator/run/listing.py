"""The runs there are: what each came to, in a line, and how to be rid of one."""

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
    """`state`: the run's outcome, "unfinished", AT_WORK or UNREADABLE (`trouble` says why).

    `gain`: accuracy of the candidate less that of the version before, where the last round was evaluated; on labels where there
    were any. `size_bytes` of the whole folder.
    """

    run: str
    state: str
    trouble: str = ""
    task: str = ""
    recipe: str = ""
    round: int = 1
    images: int = 0
    parity_set: int = 0
    gain: float | None = None
    size_bytes: int = 0


def list_runs(root: Path) -> list[ListedRun]:
    """Every run right below `root`, by name. One that can't be read is in the list as such."""
    return [describe(path.parent) for path in sorted(root.glob("*/ledger.sqlite"))]


def describe(folder: Path) -> ListedRun:
    """At once, however large the run: nothing is counted that has no index."""
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
    """Raises NotFound where it is no run, Conflict where an orchestrator or a student service is at work in it."""
    require_run(folder)
    with locked(folder):
        _require_idle_student(folder)


def delete(folder: Path) -> None:
    """Raises as `require_deletable`. It is first renamed so that nobody takes it for a run: interrupted, it is gone as well."""
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
            f"a student service has its versions in {folder / 'student'}: stop it, or leave the run"
        ) from error
