"""An evaluation for people: Markdown that also reads well in a terminal.

It is in this room because an evaluation writes its report.md into its own folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from services.core.evaluation import Tally
from services.orchestrator.scoring.conditions import ScoredEvaluation
from services.orchestrator.scoring.figures import ScoredPart, ScoreFigures

ROWS_SHOWN = 15
"""Number of kinds shown, the largest ones; figures.json has all."""


def lines(evaluation: ScoredEvaluation, found: ScoreFigures) -> list[str]:
    """The official figure first, then all others."""
    within = (
        f" (95 %: {percent(found.interval.low)} to {percent(found.interval.high)})"
        if found.interval
        else ""
    )
    facts = [
        f"{found.metric} **{percent(found.official)}**{within}, "
        f"authors' containment {percent(found.contains)}",
        f"{found.questions:,} questions about {found.images:,} images",
        *([f"{found.failed:,} have no answer and count as wrong"] if found.failed else []),
        *(f"{name} {percent(value)}" for name, value in found.beside.items()),
        *([f"words by {found.tokenizer}"] if found.tokenizer else []),
        *([_usage(found)] if found.prompt_tokens else []),
        *leaks([evaluation]),
    ]
    names = ", ".join(source.name for source in evaluation.conditions.sources)
    return [
        f"# {evaluation.respondent} on {names}",
        "",
        *listed(facts),
        *_parts("data set", found.metric, found.datasets),
        *_parts("split", found.metric, found.splits),
        *_parts("kind", found.metric, found.kinds),
    ]


def _usage(found: ScoreFigures) -> str:
    cost = f", ${found.cost_usd:,.4f} by the price table" if found.cost_usd else ""
    return f"{found.prompt_tokens:,} tokens in and {found.completion_tokens:,} out{cost}"


def _parts(title: str, metric: str, parts: Mapping[str, ScoredPart]) -> list[str]:
    if not parts:
        return []
    rows = [
        (
            name or "(none)",
            f"{part.questions:,}",
            "" if part.official is None else percent(part.official),
            percent(part.contains),
        )
        for name, part in largest(parts)
    ]
    return ["", *table((title, "questions", metric, "contains"), rows)]


Counted = TypeVar("Counted", ScoredPart, Tally)


def largest(parts: Mapping[str, Counted]) -> list[tuple[str, Counted]]:
    """The parts with the most questions, in the order of their names."""
    names = sorted(parts, key=lambda name: (-parts[name].questions, name))[:ROWS_SHOWN]
    return [(name, parts[name]) for name in sorted(names)]


def listed(facts: Iterable[str]) -> list[str]:
    return [f"- {fact}" for fact in facts]


def leaks(evaluations: Iterable[ScoredEvaluation]) -> list[str]:
    """The warning that every report of leaked images has."""
    leaked = max(evaluation.leaked for evaluation in evaluations)
    if not leaked:
        return []
    return [f"**LEAKED: {leaked:,} of these images are in the training pool**"]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    filled = [
        [" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in (heads, *rows)
    ]
    widths = [max(len(row[column]) for row in filled) for column in range(len(heads))]
    drawn = [_line(map(str.ljust, row, widths)) for row in filled]
    return [drawn[0], _line("-" * width for width in widths), *drawn[1:]]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def percent(value: float) -> str:
    return f"{100 * value:.1f}"
