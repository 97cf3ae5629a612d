"""The rounds of a run, for people and programs."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from services.orchestrator.reports.listing import say
from services.orchestrator.run.history import Round


def show(rounds: tuple[Round, ...], stopped: str, console: Console) -> None:
    """Print the rounds, the records that changed cells between them, and why the rounds stopped."""
    table = Table(box=SIMPLE_HEAD)
    for heading in ("round", "gap", "parity set", "accuracy", "fixed", "broken", "version"):
        table.add_column(heading, justify="right")
    for row in rounds:
        is_judged = row.accuracy_before is not None and row.accuracy_after is not None
        table.add_row(
            str(row.number),
            f"{row.gap:,} ({row.gap_rate:.1%})",
            f"{row.parity_set:,}",
            f"{row.accuracy_before:.1%} -> {row.accuracy_after:.1%}" if is_judged else "",
            _count(row.fixed),
            _count(row.broken),
            f"{row.version_before} -> {row.version_after or '-'}",
        )
    console.print(table)
    for row in rounds:
        changed = [
            f"{move.before} -> {move.after} {move.count:,}"
            for move in row.moves
            if move.before != move.after
        ]
        if changed:
            say(console, f"round {row.number} moved: {', '.join(changed)}")
    if stopped:
        say(console, f"stopped      {stopped}")


def to_json(rounds: tuple[Round, ...], stopped: str) -> str:
    rows = [{**asdict(row), "gap_rate": row.gap_rate} for row in rounds]
    return json.dumps({"rounds": rows, "stopped": stopped}, indent=2, ensure_ascii=False)


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
