"""Keys and values of a run, and the round that is at work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.orchestrator.run.ledger.database import Database
from services.orchestrator.run.ledger.migration import bring_up_to_date, read_as_up_to_date

STEPS_OF_A_ROUND = 2


class Meta(Database):
    """The keys and values. state.py knows the keys and their types.

    `round`: the one at work, or the last one. Raises WrongState for the ledger of a later
    program.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path, read_only=read_only)
        self._known_meta: dict[str, str] = {}
        if read_only:
            read_as_up_to_date(self)
        else:
            bring_up_to_date(self)
        self.round = int(self._meta("round") or 1)

    def begin_round(self, number: int) -> None:
        """Makes the ledger that round's.

        Call it within `at_once`, together with the round's first state.
        """
        self.write("INSERT OR REPLACE INTO meta VALUES ('round', ?)", str(number))
        self.round = number

    def meta(self, key: str) -> str:
        """The text under `key`, or "" if it was never set."""
        if not self._is_batching:
            return self._meta(key)
        if key not in self._known_meta:
            self._known_meta[key] = self._meta(key)
        return self._known_meta[key]

    def metas(self, prefix: str = "") -> dict[str, str]:
        """Every key that begins with `prefix`, without it, and its text."""
        rows = self.read("SELECT key, value FROM meta ORDER BY key")
        found = {str(key): str(value) for key, value in rows}
        return {
            key.removeprefix(prefix): text for key, text in found.items() if key.startswith(prefix)
        }

    def _meta(self, key: str) -> str:
        return next(
            (value for (value,) in self.read("SELECT value FROM meta WHERE key = ?", key)), ""
        )

    def set_meta(self, key: str, value: str) -> None:
        self.write("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)
        self._known_meta.pop(key, None)

    def set_metas(self, found: Mapping[str, str]) -> None:
        """Sets every key, as `metas` of another ledger returned it."""
        for key, value in found.items():
            self.set_meta(key, value)

    @contextmanager
    def in_batches(self) -> Iterator[None]:
        self._known_meta.clear()
        with super().in_batches():
            yield

    @contextmanager
    def at_once(self) -> Iterator[None]:
        try:
            with super().at_once():
                yield
        except BaseException:
            self._known_meta.clear()
            raise
