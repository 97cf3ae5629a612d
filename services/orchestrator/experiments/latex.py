"""A table as LaTeX (booktabs), with the titles of several columns above them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from services.orchestrator.experiments.tables import Table

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "*": r"$^{*}$",
    "<": r"$<$",
}


def latex(table: Table) -> str:
    """A table environment; it needs \\usepackage{booktabs}."""
    columns = "l" * table.labels + "r" * (len(table.heads) - table.labels)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *_heads(table),
        r"\midrule",
    ]
    lines += [_line(map(escape, row)) for row in _without_repeats(table)]
    caption = escape(" ".join((table.title + ".", *table.notes)))
    return "\n".join(
        [*lines, r"\bottomrule", r"\end{tabular}", rf"\caption{{{caption}}}", r"\end{table}", ""]
    )


def escape(text: str) -> str:
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def _heads(table: Table) -> list[str]:
    """A line for each level; equal neighbours share a title. Names of rows are in the last line."""
    depth = max(map(len, table.heads))
    lines = []
    for level in range(depth):
        padded = [
            _padded(head, depth, is_label=column < table.labels)
            for column, head in enumerate(table.heads)
        ]
        cells = []
        for key, group in groupby(padded, key=lambda head: head[: level + 1]):
            title = escape(key[-1])
            width = len(list(group))
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{title}}}" if width > 1 else title)
        lines.append(_line(cells))
    return lines


def _padded(head: Sequence[str], depth: int, *, is_label: bool) -> tuple[str, ...]:
    missing = ("",) * (depth - len(head))
    return (*missing, *head) if is_label else (*head, *missing)


def _without_repeats(table: Table) -> list[tuple[str, ...]]:
    """Rows with the outermost name printed once for consecutive rows."""
    rows = []
    last = ""
    for row in table.rows:
        is_repeat = table.labels > 1 and row[0] == last
        last = row[0]
        rows.append(("" if is_repeat else row[0], *row[1:]))
    return rows


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
