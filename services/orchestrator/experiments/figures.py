"""The figures of an experiment, as PNG and SVG.

They show accuracy by latency and size (Figure 1), the gain of each arm, learning curves, and scores
over optimizer steps.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from services.core.arm_parts import without_epochs
from services.core.arms import parse_arm
from services.files import write_atomically
from services.orchestrator.experiments.experiment import Experiment
from services.orchestrator.experiments.results import Row
from services.orchestrator.experiments.tables import title_of

PANEL = (4.4, 3.4)
"""Width and height in inches."""
LARGEST = 900.0
"""Area of the largest model's circle, in square points."""
FORMATS = ("png", "svg")
Lines = dict[tuple[str, str, str], list[Row]]
"""Rows by arm, student and teacher."""
Panel = Callable[[Axes, Sequence[Row]], None]


def draw(experiment: Experiment, rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw each figure that has data, as PNG and SVG; the paths of the PNGs."""
    measured = [row for row in rows if row.mean is not None]
    own = [row for row in measured if row.task in ("", row.on)]
    whole = [row for row in own if parse_arm(row.arm).share == 1.0]
    wanted: list[tuple[str, Panel, list[Row]]] = [
        ("latency", _latency, [row for row in whole if row.latency_s is not None]),
        ("gains", _gains, [row for row in whole if row.change.gain is not None]),
        ("curve", _curve, _of_curves(own)),
        ("steps", _steps, _over_steps(whole)),
    ]
    return [
        _save(f"{experiment.name}-{name}", panel, shown, folder)
        for name, panel, shown in wanted
        if shown
    ]


def _save(name: str, panel: Panel, rows: Sequence[Row], folder: Path) -> Path:
    """Save one figure, with a panel for each test."""
    tests = list(dict.fromkeys(row.on for row in rows))
    figure = Figure(figsize=(PANEL[0] * len(tests), PANEL[1]), layout="constrained")
    for axes, on in zip(figure.subplots(1, len(tests), squeeze=False)[0], tests, strict=True):
        of_test = [row for row in rows if row.on == on]
        axes.set_title(on)
        panel(axes, of_test)
    for suffix in FORMATS:
        data = io.BytesIO()
        metadata = {"Date": None} if suffix == "svg" else None
        figure.savefig(data, format=suffix, dpi=150, metadata=metadata)
        write_atomically(folder / f"{name}.{suffix}", data.getvalue())
    return folder / f"{name}.png"


def _latency(axes: Axes, rows: Sequence[Row]) -> None:
    """Circles as large as the models; an arrow from each student to its trained versions."""
    largest = max((row.parameters for row in rows), default=0) or 1
    before = {row.student: row for row in rows if row.arm == "zero-shot"}
    colours = {name: f"C{number}" for number, name in enumerate(dict.fromkeys(map(_model, rows)))}
    for row in rows:
        if row.arm not in ("zero-shot", "paper", "rehearsal", "teacher"):
            continue
        x, y = 1000 * (row.latency_s or 0.0), 100 * (row.mean or 0.0)
        name = _model(row)
        area = max(20.0, LARGEST * row.parameters / largest)
        axes.scatter(x, y, s=area, alpha=0.5, color=colours[name])
        label = name if row.arm in ("zero-shot", "teacher") else title_of(row.arm)
        axes.annotate(label, (x, y), (7, -3), textcoords="offset points", fontsize=7)
        if row.student in before and row.arm != "zero-shot":
            start = 100 * (before[row.student].mean or 0.0)
            axes.annotate("", (x, y), (x, start), arrowprops={"arrowstyle": "->", "alpha": 0.4})
    axes.margins(0.25)
    axes.set_xlabel("latency of one answer, ms")
    axes.set_ylabel(rows[0].metric)


def _model(row: Row) -> str:
    return row.student or row.teacher


def _gains(axes: Axes, rows: Sequence[Row]) -> None:
    names = [" ".join(filter(None, (title_of(row.arm), *_models(row, rows)))) for row in rows]
    gains, below, above = [], [], []
    for row in rows:
        gain = 100 * (row.change.gain or 0.0)
        gains.append(gain)
        below.append(max(0.0, gain - 100 * (row.change.low or 0.0)))
        above.append(max(0.0, 100 * (row.change.high or 0.0) - gain))
    axes.barh(names, gains, xerr=[below, above], capsize=3, alpha=0.8)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("gain, points (95 %)")


def _curve(axes: Axes, rows: Sequence[Row]) -> None:
    _lines(axes, rows, _whole, lambda row: row.samples)
    axes.set_xlabel("training samples")
    axes.set_ylabel(rows[0].metric)


def _steps(axes: Axes, rows: Sequence[Row]) -> None:
    """A line for each arm, over its variants by epochs; a level for the untrained student."""
    _lines(axes, [row for row in rows if row.steps], _line, lambda row: row.steps)
    for untrained in (row for row in rows if not row.steps):
        axes.axhline(100 * (untrained.mean or 0.0), color="black", linestyle=":", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("optimizer steps; dotted: untrained")
    axes.set_ylabel(rows[0].metric)


def _lines(
    axes: Axes, rows: Sequence[Row], arm: Callable[[Row], str], x: Callable[[Row], float]
) -> None:
    """A line for each arm and its models: scores with the standard deviation of the seeds."""
    for (name, *_), points in _grouped(rows, arm).items():
        in_order = sorted(points, key=x)
        axes.errorbar(
            [x(row) for row in in_order],
            [100 * (row.mean or 0.0) for row in in_order],
            yerr=[100 * (row.sd or 0.0) for row in in_order],
            marker="o",
            capsize=3,
            label=" ".join((title_of(name), *_models(points[0], rows))),
        )
    axes.legend(fontsize=6)


def _of_curves(rows: Sequence[Row]) -> list[Row]:
    """Rows of arms that are also trained on shares of their samples: the shares, and the whole."""
    shared = {parse_arm(row.arm).whole for row in rows if parse_arm(row.arm).share < 1.0}
    return [row for row in rows if parse_arm(row.arm).whole in shared]


def _over_steps(rows: Sequence[Row]) -> list[Row]:
    """Rows of arms with several numbers of steps on one test, and the untrained student's there."""
    trained = [row for row in rows if row.steps]
    shown = [
        row
        for on in dict.fromkeys(row.on for row in trained)
        for line in _grouped([row for row in trained if row.on == on], _line).values()
        if len({row.steps for row in line}) > 1
        for row in line
    ]
    tests = {row.on for row in shown}
    return shown + [row for row in rows if row.arm == "zero-shot" and row.on in tests]


def _whole(row: Row) -> str:
    return parse_arm(row.arm).whole


def _line(row: Row) -> str:
    return without_epochs(row.chosen or row.arm)


def _grouped(rows: Sequence[Row], arm: Callable[[Row], str]) -> Lines:
    """Rows by arm, student and teacher."""
    found: Lines = defaultdict(list)
    for row in rows:
        found[arm(row), row.student, row.teacher].append(row)
    return found


def _models(row: Row, rows: Sequence[Row]) -> Iterator[str]:
    """The names of the row's models, if the rows have several."""
    for axis in ("student", "teacher"):
        if len({getattr(one, axis) for one in rows if getattr(one, axis)}) > 1:
            yield getattr(row, axis)
