"""Catalogues of the runs that are looked at, kept up to date by one thread.

A view never waits long: it shows what the catalogue has, and how far the thread is.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue

from services.core.errors import MpaError, described
from services.orchestrator.audit.review_figures import REVIEWS, keep_figures
from services.orchestrator.endpoints.cache import cache_folder
from services.orchestrator.run.calibration import count_calibration
from services.orchestrator.run.expenses import count_expenses
from services.orchestrator.run.ledger.catalogue import Catalogue
from services.orchestrator.run.ledger.database import DAMAGED
from services.orchestrator.run.ledger.renewal import SCHEMA_NOTE, is_usable, renew
from services.orchestrator.run.ledger.review_book import FILE as REVIEWS_FILE
from services.orchestrator.run.ledger.review_book import reading_reviews
from services.orchestrator.run.ledger.shelves import RoundVersions
from services.orchestrator.run.run import Run, read_run

WAIT_S = 0.1
"""Longest wait of a view for a renewal, if the last one was as short."""
FIRST_WAIT_S = 1.0
LONGEST_END_S = 5.0
"""Longest wait for the thread at the end: what it hasn't finished is undone by the next start."""
REST = 30
"""Seconds until the next renewal for each second of computing: a run at work loses little."""
LONGEST_REST_S = 60.0
EXPENSES, CALIBRATION, COUNTED = "expenses", "calibration", "counted"
"""Notes of a catalogue: the run's expenses and calibration as JSON, and the look of the ledger of
which they were counted."""
LOOK, LEDGER = "look", "ledger"
"""Notes of a catalogue: the look of the files that it is made of, and the ledger's `_identity`."""

UNFINISHED = "the explorer's thread has ended: start the explorer again"
OF_REVIEWS = (REVIEWS_FILE, f"{REVIEWS_FILE}-wal")
OF_LEDGER = ("ledger.sqlite", "ledger.sqlite-wal")
LOOKED_AT = (*OF_LEDGER, *OF_REVIEWS)

Look = tuple[int, ...]
"""Times and sizes of a ledger's files."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Renewed:
    """Shelves of a catalogue that are up to date, out of `total`.

    `trouble`: why it can't be renewed; "" if it can.
    """

    done: int = 0
    total: int = 0
    is_complete: bool = False
    trouble: str = ""
    as_of: float = 0.0
    """Start of the last whole renewal in seconds since 1970; 0 before the first."""
    rests_s: float = 0.0
    """Seconds until the next renewal can begin, if the ledger has changed since `as_of`; else 0."""

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.done / self.total if self.total else 0.0


@dataclass(slots=True)
class _Kept:
    """A run's catalogue. `look`: what the ledger's files were when the last renewal began."""

    renewed: Renewed = Renewed()
    look: Look = ()
    is_due: bool = False
    took_s: float = FIRST_WAIT_S
    rests_until: float = 0.0
    finished: threading.Event = field(default_factory=threading.Event)


class Upkeep:
    """The thread and its work, from `start` to `close`, which ends it within some entries."""

    def __init__(self, rest: float = REST) -> None:
        self._rest = rest
        self._kept: dict[Path, _Kept] = {}
        self._due: SimpleQueue[Path | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._is_closing = False
        self._thread = threading.Thread(target=self._work, name="catalogues", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._is_closing = True
        self._due.put(None)
        self._thread.join(LONGEST_END_S)
        for folder in list(self._kept):
            with suppress(MpaError, OSError):
                _put_away(folder)

    def renew(self, folder: Path) -> Renewed:
        """Begins a renewal if the ledger has changed, and waits a moment for its end.

        The result is not complete if the catalogue is older than the ledger.
        """
        with self._lock:
            kept = self._kept.setdefault(folder, _Kept())
            is_changed = kept.look != look_at(folder)
            wait_s = WAIT_S if kept.took_s <= WAIT_S else 0.0
            if is_changed and not kept.is_due and time.monotonic() >= kept.rests_until:
                wait_s = wait_s if kept.look else FIRST_WAIT_S
                self._begin(folder, kept)
            may_wait = kept.is_due
            rests_s = kept.rests_until - time.monotonic() if is_changed and not may_wait else 0.0
        is_current = kept.finished.wait(wait_s) if may_wait else not is_changed
        was = kept.renewed
        is_complete = was.is_complete and is_current
        return replace(was, is_complete=is_complete, rests_s=max(0.0, rests_s))

    def confirm(self, folder: Path, renewed: Renewed, catalogue: Catalogue) -> Renewed:
        """`renewed`, if `catalogue` is the file that was renewed.

        Otherwise that one has been deleted, and a renewal of this one begins.
        """
        if not renewed.is_complete:
            return renewed
        with self._lock:
            kept = self._kept[folder]
            if catalogue.note(LOOK) == str(kept.look):
                return renewed
            if not kept.is_due:
                self._begin(folder, kept)
        return Renewed(0, renewed.total)

    def _begin(self, folder: Path, kept: _Kept) -> None:
        """Call it with the lock."""
        kept.is_due = True
        kept.finished.clear()
        self._due.put(folder)

    def _work(self) -> None:
        while (folder := self._due.get()) is not None:
            kept = self._kept[folder]
            as_of, began, cpu_began = time.time(), time.monotonic(), time.thread_time()
            look, trouble = look_at(folder), UNFINISHED
            try:
                trouble = self._try_to_renew(folder, kept, look)
            finally:
                with self._lock:
                    was = kept.renewed
                    is_complete = not trouble and not self._is_closing
                    as_of = as_of if is_complete else was.as_of
                    kept.renewed = Renewed(was.done, was.total, is_complete, trouble, as_of)
                    kept.look = () if trouble else look
                    kept.took_s = time.monotonic() - began
                    rest_s = self._rest * (time.thread_time() - cpu_began)
                    kept.rests_until = time.monotonic() + min(rest_s, LONGEST_REST_S)
                    kept.is_due = False
                kept.finished.set()

    def _try_to_renew(self, folder: Path, kept: _Kept, look: Look) -> str:
        """The trouble; "" if there was none."""
        try:
            self._renew(folder, kept, look)
        except (MpaError, OSError) as error:
            return str(error)
        # A bug. The thread serves every run: if it ended here, the catalogues of all others would
        # stay as they are, without a word. The traceback is in the log, the bug on the run's pages.
        except Exception as error:
            logger.exception("the catalogue of %s was not renewed", folder)
            return described(error)
        return ""

    def _renew(self, folder: Path, kept: _Kept, look: Look) -> None:
        def tell(done: int, total: int) -> None:
            kept.renewed = Renewed(done, total, as_of=kept.renewed.as_of)

        _renew(folder, look, tell, lambda: self._is_closing)


def renew_now(folder: Path, tell: Callable[[int, int], None]) -> Renewed:
    """Brings the catalogue up to date without a thread. `tell` gets shelves done, and of all.

    Raises as `read_run`; MpaError if the catalogue can't be written.
    """
    as_of = time.time()
    _renew(folder, look_at(folder), tell, lambda: False)
    return Renewed(1, 1, is_complete=True, as_of=as_of)


def _renew(
    folder: Path, look: Look, tell: Callable[[int, int], None], is_ending: Callable[[], bool]
) -> None:
    with (
        read_run(folder) as run,
        closing(_usable(run)) as catalogue,
        reading_reviews(folder) as reviews,
    ):
        if catalogue.note(LOOK) == str(look) and catalogue.note(REVIEWS):
            tell(1, 1)
            return
        of_ledger = str(look_at(folder, OF_LEDGER))
        catalogue.set_note(LEDGER, _identity(run))
        base, candidate = run.state.base, run.state.candidate
        versions = RoundVersions(base.name if base else "", candidate.name if candidate else "")
        for done, total in renew(catalogue, run.ledger, versions, is_ending, reviews):
            tell(done, total)
            if is_ending():
                return
        if catalogue.note(COUNTED) != of_ledger:  # not of each review again
            catalogue.set_note(EXPENSES, count_expenses(run.ledger).to_json())
            found = count_calibration(run.ledger, versions.base, versions.candidate)
            catalogue.set_note(CALIBRATION, found.to_json())
            catalogue.set_note(COUNTED, of_ledger)
        if not keep_figures(catalogue, reviews, str(look_at(folder, OF_REVIEWS)), is_ending):
            return
        catalogue.set_note(LOOK, str(look))


def _put_away(folder: Path) -> None:
    """Brings SQLite's log into the catalogue: a reader who is the last to close it leaves it."""
    with read_run(folder) as run:
        path = catalogue_file(run)
        if path.with_name(f"{path.name}-wal").exists():
            Catalogue(path).close()


def catalogue_file(run: Run) -> Path:
    """The run's own folder if it can be written, else the user's cache folder."""
    if os.access(run.folder, os.W_OK):
        return run.folder / "explorer.sqlite"
    name = hashlib.sha256(f"{run.folder.absolute()} {run.id}".encode()).hexdigest()[:32]
    folder = cache_folder() / "explorer"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.sqlite"


def open_catalogue(run: Run) -> Catalogue:
    """The catalogue to read from; an empty one until it is made."""
    path = catalogue_file(run)
    if not path.exists():
        _usable(run).close()
    return Catalogue(path, read_only=True)


def _usable(run: Run) -> Catalogue:
    """The catalogue to write. A damaged one, or another program's or ledger's, is made again."""
    path = catalogue_file(run)
    try:
        catalogue = Catalogue(path)
        is_new = not catalogue.note(SCHEMA_NOTE)
        if is_usable(catalogue) and (is_new or catalogue.note(LEDGER) == _identity(run)):
            return catalogue
        catalogue.close()
    except MpaError as error:
        if error.reason != DAMAGED:
            raise  # it may be whole: another owner's, or one of too many open files
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return Catalogue(path)


def _identity(run: Run) -> str:
    """Differs in another run's ledger, and in a restored one: its counts may be the same."""
    return f"{run.id} {(run.folder / 'ledger.sqlite').stat().st_ino}"


def look_at(folder: Path, names: Sequence[str] = LOOKED_AT) -> Look:
    """A look that differs after every commit to the files, by default the ledger and the reviews.

    An empty log says nothing: readers make it.
    """
    found: list[int] = []
    for name in names:
        with suppress(OSError):
            stat = (folder / name).stat()
            if stat.st_size:
                found += [stat.st_ino, stat.st_mtime_ns, stat.st_size]
    return tuple(found)
