"""The verdict on a run, for people and as JSON for programs."""

from __future__ import annotations

import json

from rich.console import Console

from services.core.noninferiority import NonInferiority
from services.orchestrator.reports.listing import in_points, print_rows, say
from services.orchestrator.run.running_costs import AnswerCost
from services.orchestrator.run.verdict import ReplacementVerdict

NUMBERS = ("questions", "agreement", "student", "teacher", "difference", "more questions")
MOST_KINDS = 40
"""Kinds of questions that are printed, the most frequent first; JSON has all."""


def to_json(verdict: ReplacementVerdict) -> str:
    return json.dumps(verdict.document(), indent=2, ensure_ascii=False)


def show(verdict: ReplacementVerdict, console: Console) -> None:
    """Print the verdict: the sentence, where it holds, what limits it, what answers cost."""
    comparison = verdict.comparison
    say(console, f"verdict      {verdict.sentence}")
    say(console, f"measured on  {comparison.overall.questions:,} questions ({verdict.on})")
    say(
        console,
        f"margin       {100 * verdict.margin:g} points of accuracy: yes if the whole "
        f"{comparison.level:.0%} interval of the difference is above -{100 * verdict.margin:g}",
    )
    for note in verdict.notes:
        say(console, f"note         {note}")
    kinds = sorted(comparison.kinds.items(), key=lambda item: -item[1].questions)
    rows = [("all", *_cells(comparison.overall))]
    rows += [(kind, *_cells(found)) for kind, found in kinds[:MOST_KINDS]]
    print_rows(
        ("kind of question", *NUMBERS[:5], "may it replace?", NUMBERS[5]),
        rows,
        console,
        numbers=NUMBERS,
        caption=f"intervals of kinds: {comparison.kind_level:.2%} each, 95 % together",
    )
    if len(kinds) > MOST_KINDS:
        say(console, f"{len(kinds) - MOST_KINDS:,} rarer kinds are not shown: --json has them")
    economy = verdict.economy
    say(console, f"teacher      {_cost(economy.teacher)}")
    say(console, f"student      {_cost(economy.student)}")
    if economy.alignment_usd is not None:
        say(console, f"alignment    ${economy.alignment_usd:,.2f}: {economy.alignment_basis}")
    say(console, f"pays off     {economy.sentence}")


def _cells(found: NonInferiority) -> tuple[str, ...]:
    return (
        f"{found.questions:,}",
        f"{found.agreement:.1%}",
        f"{found.new:.1%}",
        f"{found.old:.1%}",
        in_points(found.difference),
        str(found.conclusion),
        "" if found.more is None else f"{found.more:,}",
    )


def _cost(cost: AnswerCost) -> str:
    if cost.usd_per_thousand is None:
        return f"1,000 answers: {cost.basis}"
    return f"1,000 answers: ${cost.usd_per_thousand:,.4f} ({cost.basis})"
