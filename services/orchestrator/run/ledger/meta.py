"""The keys and values of a run, and which round is at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.orchestrator.run.ledger.database import Database
from services.orchestrator.run.ledger.migration import bring_up_to_date, read_as_up_to_date

OF_A_ROUND = (
    "done.",
    "version.",
    "training",
    "parity_set",
    "evaluation",
    "swap.",
    "outcome",
    "reason",
    "focus",
)
"""What the meta keys begin with that each round has for itself: "outcome" is round 1's, "round.2.outcome" the second's."""
STEPS_OF_A_ROUND = 2


class Meta(Database):
    """Raises WrongState: the ledger of a later program.

    `round`: the one that is at work, or was last. The keys OF_A_ROUND are always that round's.
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
        """From here on the ledger is that round's. Call it within `at_once` together with what the round begins with."""
        self.write("INSERT OR REPLACE INTO meta VALUES ('round', ?)", str(number))
        self.round = number

    def meta(self, key: str, *, of_round: int = 0) -> str:
        """ "" where it was never set. `of_round` 0 is the present round."""
        name = _of_round(key, of_round or self.round)
        if not self._is_batching:
            return self._meta(name)
        if name not in self._known_meta:
            self._known_meta[name] = self._meta(name)
        return self._known_meta[name]

    def _meta(self, key: str) -> str:
        return next(
            (value for (value,) in self.read("SELECT value FROM meta WHERE key = ?", key)), ""
        )

    def set_meta(self, key: str, value: str) -> None:
        name = _of_round(key, self.round)
        self.write("INSERT OR REPLACE INTO meta VALUES (?, ?)", name, value)
        self._known_meta.pop(name, None)

    def add_seconds(self, stage: str, seconds: float) -> None:
        """Time adds up over interruptions."""
        self.set_meta(
            f"seconds.{stage}", f"{float(self.meta(f'seconds.{stage}') or 0) + seconds:.3f}"
        )

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


def _of_round(key: str, number: int) -> str:
    return f"round.{number}.{key}" if number > 1 and key.startswith(OF_A_ROUND) else key
