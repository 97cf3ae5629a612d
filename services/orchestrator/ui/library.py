"""The runs of a folder by name, each opened for one view and closed after it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.core.errors import InvalidInput, MpaError, NotFound
from services.orchestrator.images.source import Source
from services.orchestrator.run.ledger.catalogue import Catalogue
from services.orchestrator.run.run import Run, read_run
from services.orchestrator.ui.upkeep import Renewed, Upkeep, open_catalogue

PATIENCE_S = 5.0
"""Patience with an unreachable bucket: somebody waits for the page."""
SOURCES_KEPT = 8


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run as a view reads it. `renewed`: how far its catalogue is."""

    name: str
    run: Run
    catalogue: Catalogue
    renewed: Renewed


@dataclass(slots=True)
class _KeptSource:
    """A source, found by the first who takes the lock."""

    source: Source | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Library:
    """Every run directly in `root`. Methods may be called in any thread."""

    def __init__(self, root: Path, upkeep: Upkeep) -> None:
        if (root / "ledger.sqlite").is_file():
            raise InvalidInput(
                f"{root} is a run: give the folder that it is in, {root.absolute().parent}"
            )
        self.root = root
        self._upkeep = upkeep
        self._sources: OrderedDict[tuple[str, str], _KeptSource] = OrderedDict()
        self._lock = threading.Lock()

    def folders(self) -> list[Path]:
        """Folders of the runs, by name."""
        return sorted(
            path.parent
            for path in self.root.glob("*/ledger.sqlite")
            if not path.parent.name.startswith(".")  # one that is being deleted
            and _has_address(path.parent.name)
        )

    def folder(self, name: str) -> Path:
        """Raises NotFound if there is no run of this name, whatever the name is made of."""
        for folder in self.folders():
            if folder.name == name:
                return folder
        raise NotFound(
            f"there is no run {name!r} in {self.root}/: "
            "it has another name, or it was deleted or moved"
        )

    @contextmanager
    def open(self, name: str) -> Iterator[OpenedRun]:
        """Raises NotFound, also if the run is deleted meanwhile; all that `read_run` raises."""
        folder = self.folder(name)
        try:
            renewed = self._upkeep.renew(folder)
            with read_run(folder) as run, closing(open_catalogue(run)) as catalogue:
                renewed = self._upkeep.confirm(folder, renewed, catalogue)
                yield OpenedRun(name, replace(run, patience_s=PATIENCE_S), catalogue, renewed)
        except (MpaError, OSError):
            self.folder(name)  # NotFound, rather than the trouble that this makes
            raise

    def source(self, opened: OpenedRun) -> Source:
        """The run's images. Finding them may list a large folder, so the last few are kept."""
        key = (opened.run.id, opened.run.settings.images)
        with self._lock:
            kept = self._sources.setdefault(key, _KeptSource())
            self._sources.move_to_end(key)
            while len(self._sources) > SOURCES_KEPT:
                self._sources.popitem(last=False)
        with kept.lock:  # its own: an unreachable bucket holds up nobody else's images
            if kept.source is None:
                kept.source = opened.run.find_images()
            return kept.source


def _has_address(name: str) -> bool:
    """Whether a name is UTF-8. Another one is bytes, and stands in no address."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
