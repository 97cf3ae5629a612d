"""Rows for people and tools: a table on a terminal, else a line of tab-separated columns each."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Console
from rich.table import Table


def print_rows(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    console: Console,
    *,
    numbers: Collection[str] = (),
    caption: str | None = None,
) -> None:
    """`numbers`: the headings of columns that stand to the right. `caption` is for people, and only on a terminal."""
    if not console.is_terminal:
        console.file.writelines(
            "\t".join(cells) + "\n" for cells in (headings, *rows)
        )  # rich would expand the tabs
        return
    table = Table(caption=caption)
    for heading in headings:
        table.add_column(
            heading, justify="right" if heading in numbers else "left", overflow="fold"
        )
    for cells in rows:
        table.add_row(*cells)
    console.print(table)
