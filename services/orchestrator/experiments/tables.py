"""Tables laid out as the paper's: official figures, the authors' containment, the paper's own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import mean
from typing import Protocol, TypeVar

from services.core.arm_parts import in_words
from services.core.arms import parse_arm
from services.orchestrator.experiments import paper
from services.orchestrator.experiments.experiment import AXES, TEST, Experiment, Layout
from services.orchestrator.experiments.results import Row

TITLES = {
    "zero-shot": "ZS",
    "paper": "MPA",
    "rehearsal": "MPA with rehearsal",
    "filtered": "PI as a filter",
    "without-pi": "MPA (w/o PI)",
    "without-pi-step-matched": "MPA (w/o PI), step-matched",
    "without-pi-step-matched-filtered": "MPA (w/o PI), steps of PI as a filter",
    "random": "random, size-matched",
    "labels": "human labels",
    "labels-lora": "human labels, LoRA",
    "labels-100": "Full SFT, 100 labels",
    "labels-100-lora": "LoRA SFT, 100 labels",
}
HEADS = {
    "student": "S-VLM",
    "teacher": "L-VLM",
    "task": "trained on",
    "on": "measured on",
    "arm": "Method",
}
CONTAINS = "contains_accuracy"
MARK = "*"

Key = Mapping[str, str]
"""One value for each axis of a table; "" matches any value."""
Values = Mapping[str, Sequence[str]]
"""All values of each axis of a table, in order."""


class Placed(Protocol):
    """A row of results or a figure of the paper, with its place in a table; "" fits anywhere."""

    @property
    def task(self) -> str: ...
    @property
    def on(self) -> str: ...


P = TypeVar("P", bound=Placed)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts.

    `heads`: the titles of each column, the outermost first. The first `labels` columns name the
    rows.
    """

    title: str
    labels: int
    heads: tuple[tuple[str, ...], ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def tables(experiment: Experiment, layout: Layout, rows: Sequence[Row]) -> list[Table]:
    """The official table, containment if it isn't the official metric, and the paper's own."""
    values = _values(experiment, layout)
    found = [_official(experiment, layout, values, rows)]
    printed = paper.of_table(layout.paper) if layout.paper else []
    if not layout.metrics and any(row.metric != CONTAINS for row in rows):
        found.append(_contains(layout, values, rows, printed))
    if printed:
        found.append(_papers(layout, printed))
    return found


def _values(experiment: Experiment, layout: Layout) -> Values:
    """Values in the order of the file. Shares of an arm are for learning curves, not for tables."""
    entries = experiment.entries.values()
    of_axis: dict[str, Sequence[str]] = {
        "student": experiment.students,
        "teacher": experiment.teachers,
        "task": [entry.name for entry in entries if entry.pool or entry.labels],
        "on": [entry.name for entry in entries if entry.test],
        "arm": [arm.name for arm in experiment.arms if arm.share == 1.0],
    }
    return {axis: of_axis[axis] for axis in (*layout.rows, *layout.columns)}


def _official(experiment: Experiment, layout: Layout, values: Values, rows: Sequence[Row]) -> Table:
    def cells(key: Key, metric: str) -> tuple[str, ...]:
        row = _find(rows, key)
        if row is None:
            return _nothing(layout)
        is_other = metric not in ("", row.metric)
        score = _percent(row.beside[metric]) if is_other else _score(row)
        counts = {"samples": row.samples, "steps": row.steps}
        texts = {part: f"{count:,.0f}" if count else "" for part, count in counts.items()}
        return tuple({**texts, "score": score}[part] for part in layout.parts)

    def gains(keys: Iterable[Key]) -> tuple[str, ...]:
        found = [
            row.change.gain
            for key in keys
            if (row := _find(rows, key)) and row.change.gain is not None
        ]
        return (f"{100 * max(found):+.1f}", f"{100 * mean(found):+.1f}") if found else ("", "")

    metrics = {row.on: (row.metric, *row.beside) for row in rows}
    official = ", ".join(sorted({row.metric for row in rows}))
    notes = [
        f"Official metrics ({official}), in percent; in parentheses the gain over the untrained "
        "student."
    ]
    seeds = max((row.seeds for row in rows), default=0)
    if experiment.draw != TEST:
        notes.append(f"Measured on the {experiment.draw} draw, on which settings are chosen.")
    if seeds > 1:
        notes.append(f"Mean and standard deviation of {seeds} seeds.")
    notes += _chosen(experiment, rows)
    notes.append(
        f"{MARK}: differs from the untrained student, McNemar p < .05 at every seed "
        "(captions: 95 % interval without 0)."
    )
    of_rows = gains if layout.gains else None
    return _table(layout, values, layout.title, notes, metrics, cells, of_rows)


def _chosen(experiment: Experiment, rows: Sequence[Row]) -> list[str]:
    """A note with the chosen settings of each arm, and the tasks that they are of."""
    places: dict[str, dict[str, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row.chosen:
            student = row.student if len(experiment.students) > 1 else ""
            teacher = row.teacher if len(experiment.teachers) > 1 else ""
            place = " ".join(filter(None, (student, teacher, row.task)))
            places[row.arm][in_words(row.chosen)][place] = None
    said = [
        f"{title_of(arm)}: "
        + "; ".join(f"{words} ({', '.join(where)})" for words, where in of_arm.items())
        for arm, of_arm in places.items()
    ]
    return [f"Settings chosen on the dev draw. {'. '.join(said)}."] if said else []


def _contains(
    layout: Layout, values: Values, rows: Sequence[Row], printed: Sequence[paper.Figure]
) -> Table:
    layout = replace(layout, samples=False, steps=False)

    def cells(key: Key, _: str) -> tuple[str, ...]:
        row, figure = _find(rows, key), _find(printed, key)
        if row is None or row.contains is None:
            return _nothing(layout)
        beside = f" [{figure.score:.1f}]" if figure and figure.metric == CONTAINS else ""
        return (_percent(row.contains) + beside,)

    notes = ["The authors' score: the most common reference is in the answer, in percent."]
    if any(_find(printed, key) for key in _keys(values, tuple(values))):
        notes.append(f"In brackets the paper's own figure ({paper.SOURCE}, Table {layout.paper}).")
    return _table(layout, values, f"{layout.title}: authors' containment", notes, {}, cells)


def _papers(layout: Layout, printed: Sequence[paper.Figure]) -> Table:
    layout = replace(layout, steps=False)
    axes = (*layout.rows, *layout.columns)
    values = {
        axis: tuple(dict.fromkeys(getattr(figure, axis) for figure in printed)) for axis in axes
    }

    def cells(key: Key, metric: str) -> tuple[str, ...]:
        figure = _find([figure for figure in printed if metric in ("", figure.metric)], key)
        if figure is None:
            return _nothing(layout)
        score = f"{figure.score:.1f}"
        samples = f"{figure.samples:,}" if figure.samples else ""
        return (samples, score) if layout.samples else (score,)

    metrics: dict[str, tuple[str, ...]] = {}
    for figure in printed:
        metrics[figure.on] = tuple(dict.fromkeys((*metrics.get(figure.on, ()), figure.metric)))
    source = f"{paper.SOURCE}, Table {layout.paper}."
    return _table(layout, values, f"The paper's Table {layout.paper}", [source], metrics, cells)


def _table(
    layout: Layout,
    values: Values,
    title: str,
    notes: Sequence[str],
    metrics: Mapping[str, Sequence[str]],
    cells: Callable[[Key, str], tuple[str, ...]],
    gains: Callable[[Iterable[Key]], tuple[str, ...]] | None = None,
) -> Table:
    """A table; rows without a figure are left out. `metrics`: the metrics of each test."""
    columns = _keys(values, layout.columns)
    labels = [HEADS[axis] for axis in layout.rows] + (["metric"] if layout.metrics else [])
    heads: list[tuple[str, ...]] = [(label,) for label in labels]
    for column in columns:
        titles = tuple(_title(axis, value) for axis, value in column.items())
        several = len(layout.parts) > 1
        heads += [(*titles, part) for part in layout.parts] if several else [titles]
    heads += [("gain", "max"), ("gain", "mean")] if gains else []
    rows = []
    for place in _places(layout, values):
        for metric in metrics.get(place["on"], ()) if layout.metrics else ("",):
            names = [_title(axis, value) for axis, value in place.items()]
            names += [metric] if layout.metrics else []
            keys = [{**place, **column} for column in columns]
            found = [text for key in keys for text in cells(key, metric)]
            if any(found):
                rows.append((*names, *found, *(gains(keys) if gains else ())))
    return Table(title, len(labels), tuple(heads), tuple(rows), tuple(notes))


def _places(layout: Layout, values: Values) -> Iterator[Key]:
    """The keys of the rows. If rows are students, each teacher has one row at the end."""
    teachers: list[Key] = []
    for place in _keys(values, layout.rows):
        if place.get("arm") != "teacher" or "student" not in place:
            yield place
        elif (teacher := {**place, "student": ""}) not in teachers:
            teachers.append(teacher)
    yield from teachers


def _keys(values: Values, axes: Sequence[str]) -> list[Key]:
    """Every combination of the values of some axes."""
    return [
        dict(zip(axes, found, strict=True)) for found in product(*(values[axis] for axis in axes))
    ]


def _nothing(layout: Layout) -> tuple[str, ...]:
    return ("",) * len(layout.parts)


def _find(placed: Iterable[P], key: Key) -> P | None:
    """The entry of a place, if possible one that is measured on the task that it is trained on."""
    found = [
        one
        for one in placed
        if all(getattr(one, axis) in ("", key[axis]) for axis in AXES if key.get(axis))
    ]
    return min(found, key=lambda one: one.task not in ("", one.on), default=None)


def _title(axis: str, value: str) -> str:
    return title_of(value) if axis == "arm" else value


def title_of(arm: str) -> str:
    """The arm's name in the paper, if it has one, and its parts."""
    ratio = parse_arm(arm).regimen.rehearsal_ratio
    form, *parts = arm.split("+")
    title = TITLES.get(form, form)
    if form not in TITLES and "rehearsal" in form:
        size = "random, as many as " if form.startswith("random") else ""
        title = f"{size}MPA with rehearsal {ratio:g}:1"
    return ", ".join((title, *(part.replace("-", " ", 1) for part in parts)))


def _score(row: Row) -> str:
    if row.mean is None:
        return f"- ({row.reason})"
    spread = f" ± {100 * row.sd:.1f}" if row.sd is not None else ""
    gain = f" ({100 * row.change.gain:+.1f})" if row.change.gain is not None else ""
    return f"{_percent(row.mean)}{spread}{MARK if row.change.is_significant else ''}{gain}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
