"""The results as a table, on the terminal and in docs/benchmarks.md.

python -m benchmarks.table      (writes the table of docs/benchmarks.md)
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from benchmarks.folders import ROOT
from benchmarks.results import read_results
from benchmarks.row import Row
from services.files import write_atomically

DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- python -m benchmarks.table -->\n", "<!-- end of the table -->\n"
HEADINGS = (
    "what",
    "against",
    "model",
    "engine",
    "ours",
    "theirs",
    "ratio (spread)",
    "bar",
    "met",
    "measured",
)


def cells(row: Row) -> tuple[str, ...]:
    """Texts of a row under HEADINGS."""
    theirs, ratio = "-", "-"
    if row.pairs:
        theirs = _figure(row.against)
        ratio = f"{row.ratio:.2f} ({row.spread[0]:.2f} to {row.spread[1]:.2f})"
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
        row.date + (f", before {row.before}" if row.before else ""),
    )


def _figure(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.3g}"


def show(rows: Sequence[Row]) -> Table:
    table = Table(*HEADINGS)
    for row in rows:
        table.add_row(*cells(row))
    return table


def markdown(rows: Sequence[Row]) -> str:
    """The same table in Markdown."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *map(cells, rows)]
    return "".join(f"| {' | '.join(texts)} |\n" for texts in lines)


def documented(document: str, rows: Sequence[Row]) -> str:
    """The document with the table of these rows."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{markdown(rows)}\n{end}{after}"


if __name__ == "__main__":
    write_atomically(DOCUMENT, documented(DOCUMENT.read_text(), read_results()))
