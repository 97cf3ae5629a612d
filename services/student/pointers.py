"""Pointers to the live, candidate and previous version: one file and a copy of it.

STORE/pointers.json         {"live": "v2", "candidate": "", "previous": "v1"}
STORE/pointers.copy.json    written second; read if the first is damaged or missing
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from services.core.errors import InvalidInput, MpaError
from services.files import write_atomically
from services.student.records import read_record

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pointers:
    """Names of versions; "" if there is none."""

    live: str = ""
    candidate: str = ""
    previous: str = ""


class PointerFile:
    """The pointers of one store."""

    def __init__(self, root: Path) -> None:
        self._file = root / "pointers.json"
        self._copy = root / "pointers.copy.json"
        self._faults: dict[Path, str] = {}

    def read(self) -> Pointers:
        """The pointers, from the copy if the file is damaged or missing; none if both are.

        A damaged file is logged once, until it changes.
        """
        for path in (self._file, self._copy):
            if not path.exists():
                continue
            try:
                way_out = "its copy is used, or else the newest whole version"
                pointers = read_record(Pointers, path, way_out)
            except InvalidInput as error:
                if self._faults.get(path) != str(error):
                    _log.error("%s", error)
                self._faults[path] = str(error)
            else:
                self._faults.pop(path, None)
                return pointers
        return Pointers()

    def write(self, pointers: Pointers) -> None:
        """Write the pointers durably and atomically. Raises MpaError: they are unchanged."""
        text = json.dumps(asdict(pointers))
        write_atomically(self._file, text)
        try:
            write_atomically(self._copy, text)
        except MpaError as error:
            _log.error("the copy of the pointers is out of date: %s", error)
