"""A row of the results: paired runs on one machine, the ratio of each pair, and their origin.

The two sides take turns (A B A B ...), so other work on the machine meets both. The ratio is the
median of the pairs' ratios, not the ratio of two medians.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from benchmarks.origin import origin

PERCENT = 100.0
MILLISECONDS = 1000.0
MIB = 2**20

Condition = str | int | float


@dataclass(frozen=True, slots=True)
class Pair:
    """One run of ours and one of the other side, in the row's unit."""

    ours: float
    against: float

    @property
    def ratio(self) -> float:
        return self.ours / self.against


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The question that a row answers."""

    name: str
    what: str
    other: str
    """The other side; "-" if the figure stands for itself."""
    model: str
    engine: str
    unit: str
    at_least: float | None = None
    """The least ratio that meets the bar. A row has one bar, or none if it only informs."""
    at_most: float | None = None
    """The greatest ratio that meets the bar."""
    conditions: Mapping[str, Condition] = field(default_factory=dict)

    def row(self, pairs: Sequence[Pair], **conditions: Condition) -> Row:
        """The row of pairs that were measured in turn."""
        ratios = [pair.ratio for pair in pairs]
        return self._answered(
            conditions,
            ours=statistics.median(pair.ours for pair in pairs),
            against=statistics.median(pair.against for pair in pairs),
            ratio=statistics.median(ratios),
            spread=(min(ratios), max(ratios)),
            runs=len(pairs),
            pairs=tuple(pairs),
        )

    def counted(self, ours: float, runs: int, **conditions: Condition) -> Row:
        """The row of a figure that stands for itself: lost answers, percent of grown memory."""
        return self._answered(
            conditions,
            ours=ours,
            against=0.0,
            ratio=ours,
            spread=(ours, ours),
            runs=runs,
            pairs=(),
        )

    def _answered(self, conditions: Mapping[str, Condition], **figures: Any) -> Row:
        asked = {each.name: getattr(self, each.name) for each in fields(Question)}
        asked["conditions"] = {**self.conditions, **conditions}
        return Row(**asked, **figures, **origin())


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Question):
    """A measured figure: one line of results.jsonl."""

    ours: float
    """Median of the runs, in `unit`."""
    against: float
    """Median of the other side's runs, in `unit`; 0 without another side."""
    ratio: float
    """Median of the runs' ratios, ours / against; the figure itself without another side."""
    spread: tuple[float, float]
    """Least and greatest ratio."""
    runs: int
    pairs: tuple[Pair, ...]
    command: str
    """The command that measured it."""
    commit: str
    """The measured code, abbreviated; up to 2026-11-29 the commit that recorded the row."""
    date: str
    """The day, YYYY-MM-DD."""
    machine: Mapping[str, Condition]
    versions: Mapping[str, str]
    before: str = ""
    """A later change of the services that the figure doesn't include."""

    @property
    def is_met(self) -> bool:
        """True also if there is no bar."""
        return (self.at_least is None or self.ratio >= self.at_least) and (
            self.at_most is None or self.ratio <= self.at_most
        )

    @property
    def bar(self) -> str:
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return "" if self.at_most is None else f"at most {self.at_most:g}"


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that at least `percent` % of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-percent * len(ordered) // PERCENT) - 1)]
