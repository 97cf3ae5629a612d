"""Lines and rows for people and tools."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Console
from rich.table import Table

from services.core.intervals import Interval


def say(console: Console, text: str) -> None:
    """Print a line as it is: no markup, no highlighting, no wrapping."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def in_points(found: Interval) -> str:
    """A difference with its interval in points, such as "-1.2 (-3.4 to +0.9)"."""
    return f"{100 * found.expected:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def print_rows(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    console: Console,
    *,
    numbers: Collection[str] = (),
    caption: str | None = None,
) -> None:
    """Print a table on a terminal, elsewhere a line of tab-separated columns per row.

    `numbers`: headings of right-aligned columns. `caption`: printed on a terminal only.
    """
    if not console.is_terminal:
        # rich would expand the tabs
        console.file.writelines("\t".join(cells) + "\n" for cells in (headings, *rows))
        return
    table = Table(caption=caption)
    for heading in headings:
        is_number = heading in numbers
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    for cells in rows:
        table.add_row(*cells)
    console.print(table)
