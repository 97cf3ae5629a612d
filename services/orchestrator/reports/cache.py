"""The teacher cache as a table for people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from services.orchestrator.endpoints.cache import DAY_S, ModelRow
from services.orchestrator.reports.listing import say


def show(path: Path, size_bytes: int, models: Sequence[ModelRow], console: Console) -> None:
    say(console, f"{path}: {size_bytes / 2**20:,.1f} MiB")
    table = Table()
    for column in ("model", "fingerprint", "annotations", "answers", "cost", "oldest", "used"):
        table.add_column(
            column,
            justify="left" if column in ("model", "fingerprint") else "right",
            overflow="fold",
        )
    for model in models:
        counts = (
            f"{model.annotations:,}",
            f"{model.answers:,}",
            f"${model.cost_usd:,.2f}" if model.cost_usd else "",
        )
        table.add_row(
            model.name, model.fingerprint[:12], *counts, _age(model.oldest), _age(model.used)
        )
    console.print(table)


def _age(when: float) -> str:
    days = int((time.time() - when) / DAY_S)
    return f"{days} d ago" if days > 0 else "today"
