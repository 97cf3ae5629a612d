"""The table file, results.jsonl: one line per row, sorted by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.row import Pair, Row
from services.files import write_atomically

RESULTS = Path(__file__).with_name("results.jsonl")


def read_results(path: Path = RESULTS) -> list[Row]:
    """All measured rows."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [_row(line) for line in lines]


def keep(row: Row, path: Path = RESULTS) -> None:
    """Adds the row, or replaces the one of the same name."""
    others = [other for other in read_results(path) if other.name != row.name]
    write_results([*others, row], path)


def write_results(rows: Sequence[Row], path: Path = RESULTS) -> None:
    lines = [
        json.dumps(asdict(row), ensure_ascii=False) + "\n"
        for row in sorted(rows, key=lambda row: row.name)
    ]
    write_atomically(path, "".join(lines))


def _row(line: str) -> Row:
    raw = json.loads(line)
    raw["spread"] = tuple(raw["spread"])
    raw["pairs"] = tuple(Pair(**pair) for pair in raw["pairs"])
    return Row(**raw)
