"""The results of an experiment as files: rows for programs, tables and figures for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from services.core import extras
from services.core.arm_parts import in_words
from services.core.intervals import format_p, holm
from services.files import write_atomically
from services.orchestrator.experiments import results
from services.orchestrator.experiments.choices import ChosenArm, write_choices
from services.orchestrator.experiments.chosen import applied, choose_settings, ranks_by_held_out
from services.orchestrator.experiments.comparisons import (
    SIGNIFICANT,
    Evaluations,
    KindChange,
    ScoreChange,
)
from services.orchestrator.experiments.experiment import DEV, TEST, Experiment
from services.orchestrator.experiments.latex import latex
from services.orchestrator.experiments.results import Row
from services.orchestrator.experiments.tables import Table, tables, title_of
from services.orchestrator.experiments.uses import (
    RECORD,
    DrawUse,
    group_by_claim,
    read_uses,
)
from services.orchestrator.experiments.versus import Versus, versus
from services.orchestrator.scoring.report import percent, table

PLACE = ("student", "teacher", "trained on", "measured on")
CHANGE = ("95 %", "fixed", "broken", "p")
KINDS = (
    "arm",
    *PLACE,
    "kind",
    "questions",
    "before",
    "after",
    "95 %",
    "fixed",
    "broken",
    "p (Holm)",
)
WORST = ("arm", *PLACE, "kinds", "broken, p (Holm) below 0.05", "worst kind", "points")
VERSUS = ("arm", "against", *PLACE, "steps", "points", *CHANGE, "p (Holm)")
USES = ("claim", "experiment", "arms", "tasks", "first", "last")
CHOSEN = ("arm", "student", "teacher", "task", "chosen", "score", "out of")
HELD_OUT = (
    "arm",
    "student",
    "teacher",
    "task",
    "held-out records choose",
    "regret",
    "regret of one seed",
    "ranks",
)
COUNTS = ("metric", "samples", "steps", "seeds", "questions")
DETAILS = ("arm", *PLACE, *COUNTS, "score", "s.d.", "contains", "gain", *CHANGE, "nothing trained")


def write(experiment: Experiment, folder: Path) -> list[str]:
    """Write NAME.json, .parquet and .md, the figures, and a .tex for each table.

    The lines of the Markdown's tables are returned, to be printed.
    """
    evaluations = Evaluations(folder)
    rows = results.collect(experiment, folder, evaluations)
    steps = {(row.arm, *_place(row)): row.steps for row in rows}
    compared = versus(experiment, evaluations, steps)
    chosen = choose_settings(experiment, rows) or applied(experiment, rows)
    results.write(rows, compared, folder, experiment.name)
    if experiment.draw == DEV:
        write_choices(chosen, folder, experiment.name)
    lines = [f"# {experiment.title}", ""]
    for layout in experiment.tables:
        made = tables(experiment, layout, rows)
        write_atomically(folder / f"{layout.name}.tex", "\n".join(map(latex, made)))
        for one in made:
            lines += [*markdown(one), ""]
    lines += [*_versus(compared), ""] if compared else []
    lines += [*_chosen(chosen), ""] if chosen else []
    by_held_out = [one for one in chosen if one.by_held_out]
    lines += [*_held_out(by_held_out, rows), ""] if by_held_out else []
    uses = read_uses(folder) if experiment.draw == TEST else []
    lines += [*_uses(uses), ""] if uses else []
    written = [*lines, *_kinds(rows), *_details(rows)]
    if extras.is_installed("matplotlib"):
        from services.orchestrator.experiments.figures import draw

        paths = draw(experiment, rows, folder)
        written += ["", *(f"![{path.stem}]({path.name})" for path in paths)]
    write_atomically(folder / f"{experiment.name}.md", "\n".join(written) + "\n")
    return lines


def markdown(found: Table) -> list[str]:
    heads = [" ".join(filter(None, head)) for head in found.heads]
    return [f"## {found.title}", "", *table(heads, found.rows), "", *found.notes]


def _details(rows: Sequence[Row]) -> list[str]:
    return ["## Every row", "", *table(DETAILS, map(_detail, rows))]


def _kinds(rows: Sequence[Row]) -> list[str]:
    """Gains and losses by kind of question, of whole arms. Each p holds for all kinds and arms."""
    found = [(row, one) for row in rows for one in row.kinds if "@" not in row.arm]
    if not found:
        return []
    adjusted = holm([one.p for _, one in found])
    told = [
        (title_of(row.arm), *_place(row), *_kind(one), f"{p:.2g}")
        for (row, one), p in zip(found, adjusted, strict=True)
    ]
    of_row: dict[tuple[str, ...], list[tuple[KindChange, float]]] = defaultdict(list)
    for (row, one), p in zip(found, adjusted, strict=True):
        of_row[title_of(row.arm), *_place(row)].append((one, p))
    worst = [(*place, *_worst(kinds)) for place, kinds in of_row.items()]
    return [
        *("## Worst kinds", "", *table(WORST, worst), ""),
        *("## By kind of question", "", *table(KINDS, told), ""),
    ]


def _worst(kinds: Sequence[tuple[KindChange, float]]) -> tuple[str, str, str, str]:
    broken = sum(one.after < one.before and p < SIGNIFICANT for one, p in kinds)
    worst, _ = min(kinds, key=lambda kind: kind[0].after - kind[0].before)
    change = f"{100 * (worst.after - worst.before):+.1f}"
    return f"{len(kinds)}", f"{broken}", worst.kind, change


def _place(row: Row | Versus) -> tuple[str, ...]:
    return row.student, row.teacher, row.task, row.on


def _kind(one: KindChange) -> tuple[str, ...]:
    scores = (percent(one.before), percent(one.after))
    within = _within(one.low, one.high)
    moved = f"{one.fixed:,.0f}", f"{one.broken:,.0f}"
    return one.kind, f"{one.questions:,}", *scores, within, *moved


def _versus(compared: Sequence[Versus]) -> list[str]:
    """Comparison of MPA's selection with its controls; the last column holds for all of them."""
    rows = [
        (
            title_of(one.arm),
            title_of(one.other),
            *_place(one),
            f"{one.steps:,.0f} / {one.other_steps:,.0f}",
            *_change(one.change),
            f"{one.p_holm:.2g}",
        )
        for one in compared
    ]
    return ["## Arms against each other", "", *table(VERSUS, rows)]


def _chosen(found: Sequence[ChosenArm]) -> list[str]:
    rows = [
        (
            title_of(one.arm),
            one.student,
            one.teacher,
            one.task,
            one.chosen,
            "" if one.score is None else percent(one.score),
            f"{one.variants} variants, {one.seeds} seeds",
        )
        for one in found
    ]
    return ["## Settings chosen on the dev draw", "", *table(CHOSEN, rows)]


def _held_out(found: Sequence[ChosenArm], rows: Sequence[Row]) -> list[str]:
    """How well held-out records choose each arm's settings, and among all arms."""
    told = [
        (
            title_of(one.arm),
            one.student,
            one.teacher,
            one.task,
            one.by_held_out,
            "" if one.regret is None else percent(one.regret),
            "" if one.seed_regret is None else percent(one.seed_regret),
            "" if one.rank_correlation is None else f"{one.rank_correlation:.2f}",
        )
        for one in found
    ]
    told += [
        (f"all {number}", *place, "", "", "", f"{correlation:.2f}")
        for place, (correlation, number) in ranks_by_held_out(rows).items()
    ]
    said = (
        "Regret: points on the dev draw that this choice loses; of one seed: if the records choose "
        "by one training of each variant, as a user's do. Ranks: Spearman's correlation of "
        "both scores over an arm's variants, or over all arms and variants."
    )
    return ["## Settings chosen by held-out records", "", said, "", *table(HELD_OUT, told)]


def _uses(found: Sequence[DrawUse]) -> list[str]:
    """Use of the test draw by all experiments of the folder."""
    by_claim = group_by_claim(found)
    number = len({claim for claim, _ in by_claim})
    times = "once" if number == 1 else f"{number} times: once for each claim"
    rows = [
        (
            claim or "none stated",
            name,
            ", ".join(dict.fromkeys(use.arm for use in uses)),
            ", ".join(dict.fromkeys(use.on for use in uses)),
            min(use.when for use in uses),
            max(use.when for use in uses),
        )
        for (claim, name), uses in by_claim.items()
    ]
    said = f"The test draw was used {times} ({RECORD})."
    return ["## Use of the test draw", "", said, "", *table(USES, rows)]


def _change(change: ScoreChange) -> tuple[str, ...]:
    """Gain with its interval, fixed and broken, p."""
    gain = "" if change.gain is None else f"{100 * change.gain:+.1f}"
    within = _within(change.low, change.high)
    fixed = "" if change.fixed is None else f"{change.fixed:,.0f}"
    broken = "" if change.broken is None else f"{change.broken:,.0f}"
    return gain, within, fixed, broken, "" if change.p is None else format_p(change.p)


def _within(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{100 * low:+.1f} to {100 * high:+.1f}"


def _detail(row: Row) -> tuple[str, ...]:
    trained = (f"{row.samples:,.0f}", f"{row.steps:,.0f}" if row.steps else "")
    counts = (row.metric, *trained, str(row.seeds), f"{row.questions:,}")
    scores = ["" if score is None else percent(score) for score in (row.mean, row.sd, row.contains)]
    arm = f"{row.arm} (chosen: {in_words(row.chosen)})" if row.chosen else row.arm
    return arm, *_place(row), *counts, *scores, *_change(row.change), row.reason
