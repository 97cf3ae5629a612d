"""The results of an experiment, written and shown: rows for programs, tables and figures for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from services.core import extras
from services.core.intervals import format_p
from services.files import write_atomically
from services.orchestrator.experiments import results
from services.orchestrator.experiments.comparisons import Evaluations, ScoreChange
from services.orchestrator.experiments.experiment import Experiment
from services.orchestrator.experiments.latex import latex
from services.orchestrator.experiments.plan import PlannedWork
from services.orchestrator.experiments.results import Row
from services.orchestrator.experiments.tables import Table, tables, title_of
from services.orchestrator.experiments.versus import Versus, versus
from services.orchestrator.reports.listing import print_rows
from services.orchestrator.scoring.report import percent, table

DETAILS = (
    *(
        "arm",
        "student",
        "teacher",
        "trained on",
        "measured on",
        "metric",
        "samples",
        "seeds",
        "questions",
    ),
    *("score", "s.d.", "contains", "gain", "95 %", "fixed", "broken", "p", "nothing trained"),
)


def show_plan(lines: Sequence[PlannedWork], console: Console) -> None:
    rows = [(line.what, f"{line.number:,}", f"{line.done:,}", line.detail) for line in lines]
    print_rows(("what", "number", "done", "detail"), rows, console, numbers=("number", "done"))


def write(experiment: Experiment, folder: Path) -> list[str]:
    """NAME.json, .parquet, .md and the figures; for each table its .tex. The lines of the Markdown, to be printed."""
    evaluations = Evaluations(folder)
    rows, compared = (
        results.collect(experiment, folder, evaluations),
        versus(experiment, evaluations),
    )
    results.write(rows, compared, folder, experiment.name)
    made = [(layout, tables(experiment, layout, rows)) for layout in experiment.tables]
    for layout, found in made:
        write_atomically(folder / f"{layout.name}.tex", "\n".join(map(latex, found)))
    lines = [f"# {experiment.title}", ""]
    for one in (one for _, found in made for one in found):
        lines += [*markdown(one), ""]
    lines += [*_versus(compared), ""] if compared else []
    written = [*lines, *_kinds(rows), *_details(rows)]
    if extras.is_installed("matplotlib"):
        from services.orchestrator.experiments.figures import draw

        written += [
            "",
            *(f"![{path.stem}]({path.name})" for path in draw(experiment, rows, folder)),
        ]
    write_atomically(folder / f"{experiment.name}.md", "\n".join(written) + "\n")
    return lines


def markdown(found: Table) -> list[str]:
    heads = [" ".join(filter(None, head)) for head in found.heads]
    return [f"## {found.title}", "", *table(heads, found.rows), "", *found.notes]


def _details(rows: Sequence[Row]) -> list[str]:
    return ["## Every row", "", *table(DETAILS, map(_detail, rows))]


def _kinds(rows: Sequence[Row]) -> list[str]:
    """What was gained and what was lost."""
    told = [
        (
            *(
                title_of(row.arm),
                row.student,
                row.teacher,
                row.task,
                row.on,
                one.kind,
                f"{one.questions:,}",
            ),
            *(percent(one.before), percent(one.after), f"{one.fixed:,.0f}", f"{one.broken:,.0f}"),
        )
        for row in rows
        for one in row.kinds
        if "@" not in row.arm
    ]
    heads = (
        "arm",
        "student",
        "teacher",
        "trained on",
        "measured on",
        "kind",
        "questions",
        "before",
        "after",
        "fixed",
        "broken",
    )
    return ["## By kind of question", "", *table(heads, told), ""] if told else []


def _versus(compared: Sequence[Versus]) -> list[str]:
    """What tells selection from its controls."""
    rows = [
        (
            *(title_of(one.arm), title_of(one.other), one.student, one.teacher, one.task, one.on),
            *_change(one.change),
        )
        for one in compared
    ]
    heads = (
        "arm",
        "against",
        "student",
        "teacher",
        "trained on",
        "measured on",
        "points",
        "95 %",
        "fixed",
        "broken",
        "p",
    )
    return ["## Arms against each other", "", *table(heads, rows)]


def _change(change: ScoreChange) -> tuple[str, ...]:
    """Gain with its interval, fixed and broken, p."""
    return (
        "" if change.gain is None else f"{100 * change.gain:+.1f}",
        ""
        if change.low is None or change.high is None
        else f"{100 * change.low:+.1f} to {100 * change.high:+.1f}",
        *("" if value is None else f"{value:,.0f}" for value in (change.fixed, change.broken)),
        "" if change.p is None else format_p(change.p),
    )


def _detail(row: Row) -> tuple[str, ...]:
    return (
        *(row.arm, row.student, row.teacher, row.task, row.on, row.metric),
        *(f"{row.samples:,.0f}", str(row.seeds), f"{row.questions:,}"),
        *("" if value is None else percent(value) for value in (row.mean, row.sd, row.contains)),
        *_change(row.change),
        row.reason,
    )
