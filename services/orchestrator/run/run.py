"""A run: its folder, lock, settings and ledger. One orchestrator works on a run at a time."""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from services.core.errors import Conflict, MpaError, NotFound, WrongState, described
from services.orchestrator.images.drawn import DrawnImages
from services.orchestrator.images.kept import WithKept
from services.orchestrator.images.opening import open_images, require_images
from services.orchestrator.images.patience import PATIENCE_S
from services.orchestrator.images.reading import Accepted, RefusedImage, read_image
from services.orchestrator.images.source import Source
from services.orchestrator.run import RUNS
from services.orchestrator.run.ledger import PRODUCTION, Ledger
from services.orchestrator.run.settings import Settings, require_same
from services.orchestrator.run.state import State

PARITY_SET = "parity_set.jsonl"

KEPT = f"{PRODUCTION}:"
"""Prefix of a kept image's path in the ledger, before its sha256."""


@dataclass(frozen=True, slots=True)
class Run:
    """An open run.

    `id` names it in requests and version manifests; it survives moving the folder.
    """

    folder: Path
    id: str
    settings: Settings
    ledger: Ledger
    patience_s: float = PATIENCE_S
    """Patience with an unreachable bucket."""

    @property
    def state(self) -> State:
        """State of the run, in its present round."""
        return State(self.ledger)

    def find_images(self) -> Source:
        source = open_images(self.settings.images, self.patience_s)
        if self.settings.pilot:
            drawn = self.state.pilot
            return DrawnImages(source, frozenset(drawn.keys if drawn else ()))
        return WithKept(source, KEPT, self.folder / PRODUCTION)

    def reading(self, source: Source) -> Callable[[str], Accepted | RefusedImage]:
        """A function that reads an image of `source` by its key, within the pixel budget."""
        return partial(read_image, source, budget=self.settings.pixel_budget)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the wall time to the ledger, even if the stage ends early."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.state.add_seconds(stage, time.monotonic() - began)


@contextmanager
def open_run(folder: Path, settings: Settings | None = None) -> Iterator[Run]:
    """Creates or resumes the run. `settings` None resumes it with its own.

    Raises WrongState if it has other settings, NotFound if there is no run to resume or
    no image, Conflict if another orchestrator is at work on it.
    """
    if settings is None:
        require_run(folder)
    else:
        if settings_of(folder) is None:
            require_images(settings.images)
        _make(folder)
    with locked(folder), _closing(Ledger(folder / "ledger.sqlite")) as ledger:
        yield _opened(folder, ledger, settings)


@contextmanager
def _closing(ledger: Ledger) -> Iterator[Ledger]:
    """Closes the ledger at the end. If damage explains an error, an MpaError reports the damage."""
    try:
        yield ledger
    except MpaError:
        raise
    except Exception:
        ledger.require_intact()
        raise
    finally:
        ledger.close()


def _opened(folder: Path, ledger: Ledger, settings: Settings | None) -> Run:
    state = State(ledger)
    stored = state.settings
    if stored and settings is not None:
        require_same(_settings(folder, ledger), settings, folder)
    if not stored:
        if settings is None:
            raise NotFound(
                f"the run in {folder} has not begun: "
                f"`mpa-orch annotate IMAGES --run {folder}` begins one"
            )
        state.id = uuid.uuid4().hex
        state.settings = settings.to_json()
    return Run(folder, state.id, _settings(folder, ledger), ledger)


def _settings(folder: Path, ledger: Ledger) -> Settings:
    """Raises WrongState if a later program wrote the settings or the outcome of the round."""
    state = State(ledger)
    try:
        _ = state.outcome
        return Settings.from_json(state.settings)
    except (TypeError, ValueError, KeyError) as error:
        ledger.require_intact()
        raise WrongState(
            f"the run in {folder} is of a later program, which this one can't read "
            f"({described(error)}): update the program"
        ) from error


@contextmanager
def read_run(folder: Path) -> Iterator[Run]:
    """A run to read from, whether or not an orchestrator is at work on it.

    Raises NotFound, WrongState if the run has not begun or belongs to a later program,
    MpaError if its ledger is damaged.
    """
    require_run(folder)
    with _closing(Ledger(folder / "ledger.sqlite", read_only=True)) as ledger:
        state = State(ledger)
        if not state.settings:
            raise WrongState(f"the run in {folder} has not begun")
        yield Run(folder, state.id, _settings(folder, ledger), ledger)


def is_at_work(folder: Path) -> bool:
    """Whether an orchestrator is at work on the run now.

    The lock is tried only if the process that it names is alive.
    """
    try:
        with (folder / ".lock").open() as lock:
            with suppress(PermissionError):  # a process of another user
                os.kill(int(lock.read(32)), 0)
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, ValueError):
        return False
    return False


def require_run(folder: Path) -> None:
    if not (folder / "ledger.sqlite").is_file():
        raise NotFound(
            f"there is no run in {folder}: `mpa-orch runs list` shows the runs in {RUNS}/"
        )


def settings_of(folder: Path) -> Settings | None:
    """Settings of the run in `folder`; None if there is none."""
    if not (folder / "ledger.sqlite").is_file():
        return None
    with _closing(Ledger(folder / "ledger.sqlite", read_only=True)) as ledger:
        return _settings(folder, ledger) if State(ledger).settings else None


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MpaError(
            f"the run folder {folder} can't be made ({error.strerror}): give another --run"
        ) from error
    foreign = next(
        (entry.name for entry in folder.iterdir() if not entry.name.startswith(".")), None
    )
    if foreign is not None and not any(
        (folder / own).exists() for own in ("ledger.sqlite", "logs", "student")
    ):
        raise WrongState(
            f"{folder} is not a run and not empty (it holds {foreign}): give another --run"
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Raises Conflict if another orchestrator is at work on it."""
    try:
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise MpaError(
            f"{folder} can't be written ({error.strerror}): give another --run"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(lock, 32).decode() or "unknown"
            raise Conflict(
                f"another mpa-orch (process {holder}) is at work in {folder}: "
                "wait for it, or stop it"
            ) from error
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        yield
    finally:
        os.close(lock)
