"""A comparison of two evaluations for people, in the Markdown of scoring/report.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.core.evaluation import Tally
from services.core.intervals import format_p
from services.orchestrator.scoring.comparison import Changed, Compared
from services.orchestrator.scoring.report import largest, leaks, listed, percent, table


def comparison_lines(found: Compared) -> list[str]:
    """The change from the first to the second, and its significance."""
    overall = found.comparison.overall
    scores = f"{percent(overall.before)} before, {percent(overall.after)} after"
    within = f"{found.interval.low * 100:+.1f} to {found.interval.high * 100:+.1f}"
    facts = [
        f"{found.before.conditions.metric} {scores}: **{found.difference * 100:+.1f}** "
        f"(95 %: {within}, paired bootstrap over images)"
    ]
    if found.mcnemar_p is not None:
        changed = f"fixed {overall.fixed:,}, broken {overall.broken:,}"
        facts.append(f"{changed}, McNemar p {format_p(found.mcnemar_p)}")
    facts += leaks([found.before, found.after])
    said = [f"# {found.after.respondent} against {found.before.respondent}", "", *listed(facts)]
    kinds = found.comparison.kinds
    if len(kinds) > 1:
        said += ["", *_kinds(kinds, is_graded=found.mcnemar_p is None)]
    return said + _examples("fixed", found.fixed) + _examples("broken", found.broken)


def _examples(title: str, changed: Sequence[Changed]) -> list[str]:
    heads = (title, "question", "reference", "before", "after")
    return ["", *table(heads, map(_cells, changed))] if changed else []


def _kinds(kinds: Mapping[str, Tally], *, is_graded: bool) -> list[str]:
    def counts(tally: Tally) -> tuple[str, ...]:
        return () if is_graded else (f"{tally.fixed:,}", f"{tally.broken:,}")

    heads = ("kind", "questions", "before", "after") + (() if is_graded else ("fixed", "broken"))
    rows = [
        (name, f"{t.questions:,}", percent(t.before), percent(t.after), *counts(t))
        for name, t in largest(kinds)
    ]
    return table(heads, rows)


def _cells(changed: Changed) -> tuple[str, ...]:
    return changed.image, changed.question, changed.reference, changed.before, changed.after
