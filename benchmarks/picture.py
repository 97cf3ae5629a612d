"""The demo's accuracy by kind of question: docs/demo.svg, from the table in docs/results.md.

python -m benchmarks.picture
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape

from benchmarks.folders import ROOT

DOCS = ROOT / "docs"
PICTURE = DOCS / "demo.svg"
ROW = re.compile(r"^\| ([^|]+) \| ([\d.]+) % \| ([\d.]+) % \| ([\d.]+) % \|$", re.MULTILINE)
BARS = (
    ("student, before", "#b8c0cc"),
    ("student, after", "#2f6fde"),
    ("teacher", "#5b6472"),
)
LEFT, WIDTH, BAR, GROUP, TOP = 190, 400, 14, 62, 48


@dataclass(frozen=True, slots=True)
class KindOfQuestion:
    """Accuracies in percent, in the order of BARS."""

    name: str
    accuracies: tuple[float, ...]


def read_table(document: str) -> list[KindOfQuestion]:
    """The rows of the demo's table. Raises ValueError: there is none."""
    rows = ROW.findall(document.partition("\n## The demo\n")[2].partition("\n## ")[0])
    if not rows:
        raise ValueError(
            "docs/results.md has no table of the demo: a row is | kind | 1 % | 2 % | 3 % |"
        )
    return [KindOfQuestion(name, tuple(map(float, values))) for name, *values in rows]


def draw(kinds: list[KindOfQuestion]) -> str:
    """A group of horizontal bars for each kind."""
    height = TOP + GROUP * len(kinds) + 6
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 {height}" '
        'font-family="sans-serif" font-size="13">',
        "<title>Accuracy on easy-VQA's test questions, in percent</title>",
        f'<rect width="660" height="{height}" rx="8" fill="#ffffff"/>',
        *_legend(),
    ]
    for number, kind in enumerate(kinds):
        parts += _group(kind, TOP + GROUP * number)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend() -> list[str]:
    parts = []
    for number, (name, color) in enumerate(BARS):
        x = LEFT + 140 * number
        parts += [
            f'<rect x="{x}" y="16" width="12" height="12" fill="{color}"/>',
            f'<text x="{x + 18}" y="27" fill="#24292f">{name}</text>',
        ]
    return parts


def _group(kind: KindOfQuestion, y: int) -> list[str]:
    middle = y + 3 * BAR // 2 + 5
    parts = [
        f'<text x="{LEFT - 12}" y="{middle}" text-anchor="end" fill="#24292f">'
        f"{escape(kind.name)}</text>"
    ]
    for number, (value, (_, color)) in enumerate(zip(kind.accuracies, BARS, strict=True)):
        top, width = y + BAR * number, value * WIDTH / 100
        parts += [
            f'<rect x="{LEFT}" y="{top}" width="{width:.1f}" height="{BAR - 2}" fill="{color}"/>',
            f'<text x="{LEFT + width + 6:.1f}" y="{top + 11}" font-size="11" fill="#24292f">'
            f"{value:.1f}</text>",
        ]
    return parts


if __name__ == "__main__":
    PICTURE.write_text(draw(read_table((DOCS / "results.md").read_text())))
