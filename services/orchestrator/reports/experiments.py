"""The plan of an experiment, as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from services.orchestrator.experiments.plan import PlannedWork
from services.orchestrator.reports.listing import print_rows


def show_plan(lines: Sequence[PlannedWork], console: Console) -> None:
    rows = [(line.what, f"{line.number:,}", f"{line.done:,}", line.detail) for line in lines]
    print_rows(("what", "number", "done", "detail"), rows, console, numbers=("number", "done"))
