"""Pictures of the three modules from a real run, for docs/how-it-works.md.

    python -m zoo.easy_vqa runs/easy-vqa
    mpa-orch align runs/easy-vqa/pool --task vqa --local --limit 400 --run runs/pictures --yes
    python -m handbook.pictures runs/pictures

It writes docs/pictures/annotate.svg, identify.svg and level.svg.
"""

from __future__ import annotations

import base64
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

from handbook.sources import ROOT
from services.core.parity import Cell
from services.orchestrator.run.entries import Entry, read_entries
from services.orchestrator.run.history import history
from services.orchestrator.run.ledger.search import Filter
from services.orchestrator.run.run import Run, read_run

PICTURES = ROOT / "docs/pictures"
WIDTH = 660
IMAGE = 96
"""Side of an image in a picture, in pixels of the picture."""
INK, FAINT, GOOD, BAD = "#24292f", "#5b6472", "#1a7f37", "#b3261e"


def draw_pictures(run: Run) -> dict[str, str]:
    """SVG of each module by its name. `run`: a finished run with a gap."""
    entries = [entry for entry in read_entries(run.ledger, Filter(usable=True)) if entry.cell]
    gap = [entry for entry in entries if entry.cell is Cell.GAP]
    others = [entry for entry in entries if entry.cell is not Cell.GAP]
    shown = _different([*gap[:1], *others, *gap[1:]], 3)
    return {
        "annotate": _annotated(run, shown),
        "identify": _identified(run, entries),
        "level": _levelled(run, len(gap)),
    }


def _different(entries: Sequence[Entry], count: int) -> list[Entry]:
    """Entries about different images."""
    found = {entry.image.sha256: entry for entry in reversed(entries)}
    return sorted(found.values(), key=list(entries).index)[:count]


def _annotated(run: Run, shown: Sequence[Entry]) -> str:
    parts = []
    for row, entry in enumerate(shown):
        y = 16 + row * (IMAGE + 16)
        assert entry.annotation is not None
        parts += [
            _image(run, entry, 16, y),
            _text(136, y + 34, entry.annotation.question, weight="bold"),
            _text(136, y + 62, f"teacher: {entry.annotation.answer}", GOOD),
        ]
    title = "The teacher writes a question and an answer for each image"
    return _svg(title, 16 + len(shown) * (IMAGE + 16), parts)


def _identified(run: Run, entries: Sequence[Entry]) -> str:
    counts = Counter(entry.cell for entry in entries)
    places = (
        (Cell.GAP, "gap: the student trains on it", "teacher right, student wrong", BAD),
        (Cell.UNASKED, "known: nothing to learn", "student right, teacher not asked", GOOD),
        (Cell.NOISE_BOTH_WRONG, "noise: left out", "teacher contradicts itself", FAINT),
    )
    parts = []
    for row, (cell, meaning, rule, color) in enumerate(places):
        y = 16 + row * (IMAGE + 16)
        share = counts[cell] / len(entries)
        parts += [
            f'<rect x="16" y="{y}" width="{WIDTH - 32}" height="{IMAGE}" rx="6" fill="none" '
            f'stroke="{color}"/>',
            _text(32, y + 30, f"{counts[cell]:,} of {len(entries):,} ({share:.0%})", color, "bold"),
            _text(32, y + 54, meaning),
            _text(32, y + 76, rule, FAINT),
        ]
        example = next((entry for entry in entries if entry.cell is cell), None)
        if example:
            parts += _example(run, example, y)
    return _svg("Both models answer without seeing the annotation", 16 + 3 * (IMAGE + 16), parts)


def _example(run: Run, entry: Entry, y: int) -> list[str]:
    assert entry.annotation is not None and entry.student is not None
    teacher = f", teacher: {entry.teacher.answer}" if entry.teacher else ""
    return [
        _image(run, entry, 270, y + 8, IMAGE - 16),
        _text(364, y + 30, entry.annotation.question),
        _text(364, y + 54, f"annotation: {entry.annotation.answer}", FAINT),
        _text(364, y + 76, f"student: {entry.student.answer}{teacher}"),
    ]


def _levelled(run: Run, gap: int) -> str:
    last = history(run.ledger)[-1]
    before, after = last.accuracy_before, last.accuracy_after
    assert before is not None and after is not None
    parts = [_text(16, 36, f"gap of {gap:,} questions, parity set of {last.parity_set:,} samples")]
    for row, (name, value) in enumerate((("before", before), ("after", after))):
        y = 56 + 30 * row
        parts += [
            _text(16, y + 16, name, FAINT),
            f'<rect x="80" y="{y}" width="{400 * value:.1f}" height="20" fill="#2f6fde"/>',
            _text(int(90 + 400 * value), y + 16, f"{value:.1%}"),
        ]
    parts.append(_text(16, 136, "accuracy on questions about held-out images", FAINT))
    outcome = last.outcome.replace("_", " ")
    parts.append(_text(16, 166, f"fixed {last.fixed}, broken {last.broken}: {outcome}"))
    lines = textwrap.wrap(last.reason, 84)
    parts += [_text(16, 190 + 20 * row, line, FAINT) for row, line in enumerate(lines)]
    title = "The student trains on the gap, and is compared with the live version"
    return _svg(title, 186 + 20 * len(lines), parts)


def _image(run: Run, entry: Entry, x: int, y: int, side: int = IMAGE) -> str:
    data = base64.b64encode(run.find_images().read(entry.image.path)).decode()
    return (
        f'<image x="{x}" y="{y}" width="{side}" height="{side}" '
        f'href="data:image/png;base64,{data}"/>'
    )


def _text(x: int, y: int, text: str, color: str = INK, weight: str = "normal") -> str:
    return (
        f'<text x="{x}" y="{y}" fill="{color}" font-weight="{weight}">{escape(text, quote=False)}'
        "</text>"
    )


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="14">\n<title>{title}</title>\n'
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    with read_run(Path(sys.argv[1])) as opened:
        for name, picture in draw_pictures(opened).items():
            (PICTURES / f"{name}.svg").write_text(picture, encoding="utf-8")
