"""Pictures of a run's overview, as SVG within the page.

Their colors are classes of explorer.css, so that they change with the page. Each has its numbers as
a text for those who can't see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape

from services.core.intervals import Interval, paired_difference
from services.core.reliability import Bin, Reliability
from services.orchestrator.ui.overview import JudgedLine

MOST_ROWS = 16
"""Kinds of questions in a picture: those with the most questions, after all of them."""
MOST_TOLD = 20
"""Points of a curve that its text names."""
LABEL_CHARS = 24
WIDTH, LEFT, RIGHT, ROW, TOP, BOTTOM = 640, 190, 30, 26, 10, 34
CURVE = 220
"""Height of a curve."""
SQUARE = 360
"""Height of a picture with the same scale on both sides."""
STEPS = (1.0, 2.0, 5.0)


def draw_changes(lines: Sequence[JudgedLine]) -> str:
    """Accuracy before and after by kind of question, and the teacher's; "" without questions."""
    rows = _rows(lines)
    if not rows:
        return ""
    x = _scale(0.0, 1.0)
    parts = list(_axis(len(rows), x, [share / 4 for share in range(5)], _percent))
    for line, y in _placed(rows):
        parts += [
            _label(line.kind, y),
            f'<line class="span" x1="{x(line.before)}" y1="{y}" x2="{x(line.after)}" y2="{y}"/>',
        ]
        if line.teacher is not None:
            at = x(line.teacher)
            parts.append(f'<line class="teacher" x1="{at}" y1="{y - 8}" x2="{at}" y2="{y + 8}"/>')
        parts += [
            f'<circle class="before" cx="{x(line.before)}" cy="{y}" r="5"/>',
            f'<circle class="{_course(line)}" cx="{x(line.after)}" cy="{y}" r="6"/>',
        ]
    told = "; ".join(map(_told_change, rows))
    return _svg(_height(rows), f"Accuracy by kind of question: {told}.", parts)


def draw_gains(lines: Sequence[JudgedLine]) -> str:
    """Gain by kind of question with its 95 % interval; "" without questions."""
    rows = _rows(lines)
    if not rows:
        return ""
    gains = [paired_difference(line.fixed, line.broken, line.questions) for line in rows]
    low, high = min(0.0, *(gain.low for gain in gains)), max(0.0, *(gain.high for gain in gains))
    marks = _marks(low, high)
    x = _scale(min(low, marks[0]), max(high, marks[-1]))
    parts = list(_axis(len(rows), x, marks, _points))
    bottom = _height(rows) - BOTTOM
    parts.append(f'<line class="zero" x1="{x(0.0)}" y1="{TOP}" x2="{x(0.0)}" y2="{bottom}"/>')
    for (line, y), gain in zip(_placed(rows), gains, strict=True):
        parts += [
            _label(line.kind, y),
            f'<line class="span" x1="{x(gain.low)}" y1="{y}" x2="{x(gain.high)}" y2="{y}"/>',
            f'<circle class="{_course(line)}" cx="{x(gain.expected)}" cy="{y}" r="6"/>',
        ]
    told = "; ".join(_told_gain(line, gain) for line, gain in zip(rows, gains, strict=True))
    return _svg(_height(rows), f"Gain in percentage points, 95 % interval: {told}.", parts)


def draw_losses(points: Sequence[tuple[int, float]]) -> str:
    """Training loss by step; "" with fewer than two points."""
    if len(points) < 2:
        return ""
    most = max(loss for _, loss in points)
    marks = _marks(0.0, most or 1.0)
    bottom = CURVE - BOTTOM
    x = _scale(float(points[0][0]), float(points[-1][0]), left=60)

    def y(loss: float) -> float:
        return round(bottom - (bottom - TOP) * loss / max(most, marks[-1]), 1)

    parts = []
    for mark in marks:
        parts += [
            f'<line class="grid" x1="60" y1="{y(mark)}" x2="{WIDTH - RIGHT}" y2="{y(mark)}"/>',
            f'<text x="52" y="{y(mark) + 4}" text-anchor="end">{mark:g}</text>',
        ]
    for step, _ in (points[0], points[-1]):
        place = f'x="{x(step)}" y="{bottom + 20}" text-anchor="middle"'
        parts.append(f"<text {place}>{step:,}</text>")
    drawn = " ".join(f"{x(step)},{y(loss)}" for step, loss in points)
    parts.append(f'<polyline class="curve" points="{drawn}"/>')
    every = -(-len(points) // MOST_TOLD)
    some = [*points[:-1:every], points[-1]]
    told = "; ".join(f"step {step:,} {loss:.3f}" for step, loss in some)
    return _svg(CURVE, f"Training loss by step: {told}.", parts)


def draw_reliability(before: Reliability, after: Reliability) -> str:
    """Share of right answers by the student's own probability; "" without answers."""
    sides = [(before, "before"), (after, "better")]
    if not any(of.answers for of, _ in sides):
        return ""
    bottom = SQUARE - BOTTOM
    x = _scale(0.0, 1.0, left=60)

    def y(share: float) -> float:
        return round(bottom - (bottom - TOP) * share, 1)

    parts = []
    for mark in (share / 4 for share in range(5)):
        parts += [
            f'<line class="grid" x1="{x(0)}" y1="{y(mark)}" x2="{x(1)}" y2="{y(mark)}"/>',
            f'<text x="52" y="{y(mark) + 4}" text-anchor="end">{_percent(mark)}</text>',
            f'<line class="grid" x1="{x(mark)}" y1="{y(0)}" x2="{x(mark)}" y2="{y(1)}"/>',
            f'<text x="{x(mark)}" y="{bottom + 20}" text-anchor="middle">{_percent(mark)}</text>',
        ]
    parts.append(f'<line class="ideal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    told = []
    for of, name in sides:
        filled = [part for part in of.bins if part.answers]
        for part in filled:
            at, share = x(part.probability), part.share
            parts += [
                f'<line class="of-{name}" x1="{at}" y1="{y(share.low)}" '
                f'x2="{at}" y2="{y(share.high)}"/>',
                f'<circle class="{name}" cx="{at}" cy="{y(share.expected)}" r="5"/>',
            ]
        told += ["; ".join(map(_told_bin, filled)) or "not kept"]
    said = f"Right answers by their probability. Before: {told[0]}. After: {told[1]}."
    return _svg(SQUARE, said, parts)


def _told_bin(part: Bin) -> str:
    share = part.share
    return (
        f"{part.probability:.1%} sure, {share.expected:.1%} right "
        f"({share.low:.1%} to {share.high:.1%}, {part.answers:,} answers)"
    )


def _rows(lines: Sequence[JudgedLine]) -> list[JudgedLine]:
    asked = [line for line in lines if line.questions]
    kinds = sorted(asked[1:], key=lambda line: -line.questions)
    return [*asked[:1], *kinds[: MOST_ROWS - 1]]


def _placed(rows: Sequence[JudgedLine]) -> Iterator[tuple[JudgedLine, int]]:
    """Rows, each with the middle of its height."""
    return ((line, TOP + ROW * number + ROW // 2) for number, line in enumerate(rows))


def _height(rows: Sequence[JudgedLine]) -> int:
    return TOP + ROW * len(rows) + BOTTOM


def _scale(low: float, high: float, left: int = LEFT) -> Callable[[float], float]:
    width = WIDTH - left - RIGHT
    return lambda value: round(left + width * (value - low) / ((high - low) or 1.0), 1)


def _marks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, at most six; both may be a little beyond them."""
    size = (high - low) / 5 or 1.0
    power = 1.0
    while power > size:
        power /= 10
    while power * 10 <= size:
        power *= 10
    step = next((power * times for times in STEPS if power * times >= size), power * 10)
    first, last = -int(-low / step), int(high / step)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _axis(
    rows: int, x: Callable[[float], float], marks: Sequence[float], say: Callable[[float], str]
) -> Iterator[str]:
    bottom = TOP + ROW * rows
    for mark in marks:
        at = x(mark)
        yield f'<line class="grid" x1="{at}" y1="{TOP}" x2="{at}" y2="{bottom}"/>'
        yield f'<text x="{at}" y="{bottom + 20}" text-anchor="middle">{say(mark)}</text>'


def _label(kind: str, y: float) -> str:
    shown = kind if len(kind) <= LABEL_CHARS else f"{kind[:LABEL_CHARS]}…"
    return f'<text x="{LEFT - 16}" y="{y + 4}" text-anchor="end">{escape(shown)}</text>'


def _course(line: JudgedLine) -> str:
    """Class of the mark after the training."""
    return "better" if line.after >= line.before else "worse"


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _points(share: float) -> str:
    return f"{100 * share:+g}" if share else "0"


def _told_change(line: JudgedLine) -> str:
    teacher = "" if line.teacher is None else f", teacher {line.teacher:.1%}"
    return f"{line.kind} {line.before:.1%} before, {line.after:.1%} after{teacher}"


def _told_gain(line: JudgedLine, gain: Interval) -> str:
    low, expected, high = (f"{100 * value:+.1f}" for value in (gain.low, gain.expected, gain.high))
    return f"{line.kind} {expected} ({low} to {high})"


def _svg(height: int, said: str, parts: Sequence[str]) -> str:
    """A picture with `said` as its text."""
    box = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return f'<svg class="plot" role="img" aria-label="{escape(said)}" {box}>{"".join(parts)}</svg>'
