"""Outcomes of the parts, as JSON and as a Markdown table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.origin import origin
from benchmarks.row import Row
from services.engines.gpus import visible_gpus
from services.files import write_atomically


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, and its conditions."""

    what: str
    value: float
    unit: str
    conditions: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One part. `error`: the reason why it failed or was left out; "" if it is done."""

    part: str
    seconds: float
    figures: tuple[Figure, ...] = ()
    rows: tuple[Row, ...] = ()
    error: str = ""
    is_left_out: bool = False

    @property
    def state(self) -> str:
        if self.is_left_out:
            return "left out"
        return "failed" if self.error else "done"


def write(folder: Path, scale: str, outcomes: Sequence[Outcome]) -> None:
    """Writes gpu-check.json and gpu-check.md."""
    report = {
        "scale": scale,
        "gpus": [asdict(gpu) for gpu in visible_gpus()],
        "origin": origin(),
        "parts": [{**asdict(outcome), "state": outcome.state} for outcome in outcomes],
    }
    write_atomically(folder / "gpu-check.json", json.dumps(report, indent=2, ensure_ascii=False))
    write_atomically(folder / "gpu-check.md", markdown(outcomes))


def markdown(outcomes: Sequence[Outcome]) -> str:
    """A line for each figure and row, and for each part that has none."""
    lines = [("part", "state", "seconds", "figure", "value", "conditions"), ("---",) * 6]
    for outcome in outcomes:
        begin = (outcome.part, outcome.state, f"{outcome.seconds:.0f}")
        found = [
            *(
                (one.what, f"{one.value:,.4g} {one.unit}", one.conditions)
                for one in outcome.figures
            ),
            *(_cells(row) for row in outcome.rows),
        ]
        if outcome.error or not found:
            found.append(("", "", outcome.error))
        lines += [(*begin, *cells) for cells in found]
    return "".join(f"| {' | '.join(map(_plain, cells))} |\n" for cells in lines)


def _cells(row: Row) -> tuple[str, str, str]:
    against = (
        f" against {row.other}: {row.against:,.4g}, ratio {row.ratio:.2f}" if row.pairs else ""
    )
    met = f"bar {row.bar}: {'met' if row.is_met else 'not met'}" if row.bar else ""
    return row.what, f"{row.ours:,.4g} {row.unit}", f"{met}{against}"


def _plain(cell: str) -> str:
    """A cell on one line."""
    return " ".join(cell.replace("|", "/").split())
