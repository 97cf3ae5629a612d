"""The command line that all rows share."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console

from benchmarks.results import keep
from benchmarks.row import Row
from benchmarks.table import show

MODELS = ("bundled", "150m")
TRUE_SHAPED = ("qwen2vl-2b", "tiny")
"""Models that only the rows of benchmarks/gpu_check know."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The choices of a command."""

    models: tuple[str, ...]
    runs: int
    """Measured pairs, after one that isn't measured."""
    quick: bool
    """A tenth of the work."""
    engine: str = ""
    """One engine alone; "" for every engine."""

    def engines(self, of_row: Iterable[str]) -> list[str]:
        return [engine for engine in of_row if self.engine in ("", engine)]

    def share(self, count: int) -> int:
        return max(1, count // 10) if self.quick else count


Measure = Callable[[str, Arguments], AsyncIterator[Row]]
"""Yields the rows of one model, each as soon as it is measured."""


def parser(description: str | None, models: Sequence[str] = MODELS) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument(
        "--model",
        choices=(*models, *TRUE_SHAPED),
        action="append",
        help="model (default: all but the last two)",
    )
    found.add_argument("--runs", type=int, default=5, help="number of measured pairs")
    found.add_argument("--quick", action="store_true", help="do a tenth of the work, keep no row")
    found.add_argument(
        "--engine",
        choices=("fake", "transformers", "vllm"),
        default="",
        help="engine (default: every engine of the row)",
    )
    return found


def run(
    measures: Sequence[Measure], description: str | None, models: Sequence[str] = MODELS
) -> None:
    """Runs a module as a program."""
    given = parser(description, models).parse_args()
    given.model = given.model or models
    measure(measures, given)


def measure(measures: Sequence[Measure], given: argparse.Namespace) -> None:
    """Measures, keeps each row as soon as it is there, shows the table."""
    arguments = Arguments(tuple(given.model or MODELS), given.runs, given.quick, given.engine)
    console = Console()
    wide = console if console.is_terminal else Console(width=220)
    rows, failed = asyncio.run(measure_all(measures, arguments))
    wide.print(show(rows))
    if failed:
        sys.exit(f"{failed} measurements failed: see above")


async def measure_all(measures: Sequence[Measure], arguments: Arguments) -> tuple[list[Row], int]:
    """The rows, and the number of failed measurements. A failure doesn't stop the others."""
    rows = []
    failed = 0
    for one, model in itertools.product(measures, arguments.models):
        try:
            async for row in one(model, arguments):
                rows.append(row)
                if not arguments.quick:
                    keep(row)
                figures = f"{row.ours:.4g} against {row.against:.4g} {row.unit}"
                print(f"{row.name}: {figures}, ratio {row.ratio:.3f}", flush=True)
        except Exception:
            failed += 1
            traceback.print_exc()
    return rows, failed
