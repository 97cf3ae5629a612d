"""The command line that every row has in common."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console

from benchmarks.row import Row, show

MODELS = ("bundled", "150m")


@dataclass(frozen=True, slots=True)
class Arguments:
    """`runs`: pairs that are measured, after one that is not. `quick`: a tenth of the work. `engine` "" is every one."""

    models: tuple[str, ...]
    runs: int
    quick: bool
    engine: str = ""

    def engines(self, of_row: Iterable[str]) -> list[str]:
        return [engine for engine in of_row if self.engine in ("", engine)]

    def share(self, count: int) -> int:
        return max(1, count // 10) if self.quick else count


Measure = Callable[[str, Arguments], AsyncIterator[Row]]
"""Yields the rows of one model, each as soon as it is measured."""


def run(measures: Sequence[Measure], description: str | None) -> None:
    """Runs a module as a program: measures, writes each row as soon as it is there, shows the table."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", choices=MODELS, action="append", help="one alone; both unless given"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, written nowhere")
    parser.add_argument(
        "--engine",
        choices=("fake", "transformers", "vllm"),
        default="",
        help="one alone, where a row has several",
    )
    given = parser.parse_args()
    arguments = Arguments(tuple(given.model or MODELS), given.runs, given.quick, given.engine)
    console = Console()
    wide = console if console.is_terminal else Console(width=220)
    rows, failed = asyncio.run(measure_all(measures, arguments))
    wide.print(show(rows))
    if failed:
        sys.exit(f"{failed} could not be measured: see above")


async def measure_all(measures: Sequence[Measure], arguments: Arguments) -> tuple[list[Row], int]:
    """The rows, and how many measures broke off: one that does is not the end of the others."""
    rows, failed = [], 0
    for measure, model in itertools.product(measures, arguments.models):
        try:
            async for row in measure(model, arguments):
                rows.append(row)
                if not arguments.quick:
                    row.write()
                print(
                    f"{row.name}: {row.ours:.4g} against {row.against:.4g} {row.unit}, ratio {row.ratio:.3f}",
                    flush=True,
                )
        except Exception:
            failed += 1
            traceback.print_exc()
    return rows, failed
