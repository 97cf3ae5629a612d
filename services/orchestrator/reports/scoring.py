"""A comparison for people, in the same Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from services.core.evaluation import Tally
from services.core.intervals import format_p
from services.orchestrator.scoring.comparison import Changed, Compared
from services.orchestrator.scoring.report import largest, leaks, listed, percent, table


def comparison_lines(found: Compared) -> list[str]:
    """What changed from the first to the second, and whether that may be chance."""
    overall, metric = found.comparison.overall, found.before.conditions.metric
    before, after = found.before.respondent, found.after.respondent
    facts = [
        f"{metric} {percent(overall.before)} before, {percent(overall.after)} after: **{found.difference * 100:+.1f}** "
        f"(95 %: {found.interval.low * 100:+.1f} to {found.interval.high * 100:+.1f}, paired bootstrap over images)"
    ]
    if found.mcnemar_p is not None:
        facts.append(
            f"fixed {overall.fixed:,}, broken {overall.broken:,}, McNemar p {format_p(found.mcnemar_p)}"
        )
    said = [
        f"# {after} against {before}",
        "",
        *listed([*facts, *leaks([found.before, found.after])]),
    ]
    kinds = found.comparison.kinds
    said += ["", *_kinds(kinds, is_graded=found.mcnemar_p is None)] if len(kinds) > 1 else []
    for title, changed in (("fixed", found.fixed), ("broken", found.broken)):
        said += (
            ["", *table((title, "question", "reference", "before", "after"), map(_cells, changed))]
            if changed
            else []
        )
    return said


def _kinds(kinds: Mapping[str, Tally], *, is_graded: bool) -> list[str]:
    def counts(tally: Tally) -> tuple[str, ...]:
        return () if is_graded else (f"{tally.fixed:,}", f"{tally.broken:,}")

    heads = ("kind", "questions", "before", "after") + (() if is_graded else ("fixed", "broken"))
    return table(
        heads,
        [
            (name, f"{t.questions:,}", percent(t.before), percent(t.after), *counts(t))
            for name, t in largest(kinds)
        ],
    )


def _cells(changed: Changed) -> tuple[str, ...]:
    return changed.image, changed.question, changed.reference, changed.before, changed.after
