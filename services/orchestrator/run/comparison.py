"""Two runs side by side: settings that differ, cells, records that changed their cell, gains."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter

from services.orchestrator.run.ledger.evidence import AnsweredRecord, answered_records
from services.orchestrator.run.listing import gain
from services.orchestrator.run.run import Run
from services.orchestrator.run.settings import Settings
from services.orchestrator.run.state import State

Pair = tuple[AnsweredRecord | None, AnsweredRecord | None]


@dataclass(frozen=True, slots=True)
class MovedRecord:
    """A question about an image that is in another cell in the second run."""

    image: str
    question: str
    answer: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Comparison of two runs. Pairs are (first run, second run).

    `moved` counts records by (cell here, cell there), "" if a run has no such record.
    `changed`: a page of the records that both runs have, in different cells.
    """

    runs: tuple[str, str]
    settings: dict[str, tuple[str, str]]
    moved: dict[tuple[str, str], int]
    gains: tuple[float | None, float | None]
    changed: tuple[MovedRecord, ...]

    @property
    def cells(self) -> dict[str, tuple[int, int]]:
        """Number of records in each cell, in either run; "" for records of the other run alone."""
        return {
            cell: (self._total(0, cell), self._total(1, cell))
            for cell in sorted({cell for pair in self.moved for cell in pair})
        }

    @property
    def changes(self) -> dict[tuple[str, str], int]:
        """Number of records of both runs whose cell differs, by pair of cells."""
        return {
            pair: count
            for pair, count in sorted(self.moved.items())
            if all(pair) and pair[0] != pair[1]
        }

    def _total(self, side: int, cell: str) -> int:
        return sum(count for pair, count in self.moved.items() if pair[side] == cell)


@dataclass(frozen=True, slots=True)
class RoundOfRun:
    """A run as it was in one of its rounds."""

    run: Run
    round: int
    """Counted from 1."""

    @property
    def state(self) -> State:
        return self.run.state.of_round(self.round)

    def records(self) -> Iterator[AnsweredRecord]:
        """By image and question."""
        state, base = self.state, self.state.base
        return answered_records(
            self.run.ledger, self.round, base.name if base else "", state.teacher()
        )


def present(run: Run) -> RoundOfRun:
    """The run as it is now."""
    return RoundOfRun(run, run.ledger.round)


def compare_runs(first: Run, second: Run, limit: int, offset: int) -> RunComparison:
    """Reads both ledgers once, in constant memory. Image and question identify a record."""
    moved: Counter[tuple[str, str]] = Counter()
    changed: list[MovedRecord] = []
    seen = 0
    for before, after in pairs(present(first), present(second)):
        moved[cell_of(before), cell_of(after)] += 1
        if before and after and before.cell != after.cell:
            if offset <= seen < offset + limit:
                record = MovedRecord(
                    image=after.path,
                    question=after.question,
                    answer=after.answer,
                    before=cell_of(before),
                    after=cell_of(after),
                )
                changed.append(record)
            seen += 1
    return RunComparison(
        (str(first.folder), str(second.folder)),
        differing(first.settings, second.settings),
        dict(moved),
        (gain(first.ledger), gain(second.ledger)),
        tuple(changed),
    )


def differing(first: Settings, second: Settings) -> dict[str, tuple[str, str]]:
    """Settings that differ, by name; a recipe's parts have the prefix "recipe."."""
    here, there = _named(first), _named(second)
    return {name: (str(here[name]), str(there[name])) for name in here if here[name] != there[name]}


def _named(settings: Settings) -> dict[str, object]:
    values = asdict(settings)
    return {**{f"recipe.{name}": value for name, value in values.pop("recipe").items()}, **values}


def pairs(first: RoundOfRun, second: RoundOfRun) -> Iterator[Pair]:
    """Records of the same image and question in both; None where one side has no such record."""
    streams = (_sided(one.records(), side) for side, one in enumerate((first, second)))
    merged = heapq.merge(*streams, key=itemgetter(0))
    for _, group in groupby(merged, key=itemgetter(0)):
        found: dict[int, AnsweredRecord] = {side: record for _, side, record in group}
        yield found.get(0), found.get(1)


def _sided(
    records: Iterable[AnsweredRecord], side: int
) -> Iterator[tuple[tuple[str, str], int, AnsweredRecord]]:
    return (((record.image_sha256, record.question), side, record) for record in records)


def cell_of(record: AnsweredRecord | None) -> str:
    """The record's cell; "" without a record."""
    return str(record.cell) if record else ""
