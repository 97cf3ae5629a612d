"""Everything that the service has acknowledged, as its client remembers it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Promised:
    """Promises of a service. They hold whatever happens to it."""

    datasets: dict[str, frozenset[str]] = field(default_factory=dict)
    """Images of each data set whose upload has returned."""
    versions: dict[str, str] = field(default_factory=dict)
    """Hash of the weights of each version that a finished training named, or a promotion used."""
    trainings: dict[str, str] = field(default_factory=dict)
    """Request id of each training that was acknowledged, and its operation."""
    keys: list[str] = field(default_factory=list)
    """Every key that was added."""
    audited: Counter[str] = field(default_factory=Counter)
    """Number of acknowledged calls of each control action that the audit log must have."""
    live: str = ""
    """The live version, as last acknowledged."""
    may_be_live: set[str] = field(default_factory=set)
    """Versions that may be live now: one more while a promotion is under way."""
    _asked: list[set[str]] = field(default_factory=list)

    def point(self, live: str) -> None:
        """A promotion has returned."""
        self.live = live
        self._allow({live})
        self.may_be_live = {live}

    def try_to_point(self, name: str) -> None:
        """A promotion begins."""
        self.may_be_live = self.may_be_live | {name}
        self._allow(self.may_be_live)

    def _allow(self, names: set[str]) -> None:
        for asked in self._asked:
            asked |= names

    @contextmanager
    def question(self) -> Iterator[set[str]]:
        """Versions that may answer a question that is under way."""
        allowed = set(self.may_be_live)
        self._asked.append(allowed)
        try:
            yield allowed
        finally:
            self._asked = [each for each in self._asked if each is not allowed]
