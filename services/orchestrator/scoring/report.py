"""Evaluations and comparisons for people: Markdown that reads well in a terminal, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from services.core.evaluation import Tally, format_p
from services.orchestrator.scoring.comparison import Changed, Compared
from services.orchestrator.scoring.conditions import Evaluation
from services.orchestrator.scoring.figures import Figures, Part


def lines(evaluation: Evaluation, found: Figures) -> list[str]:
    """The official figure first, then everything beside it."""
    within = f" (95 %: {_percent(found.interval.low)} to {_percent(found.interval.high)})" if found.interval else ""
    said = [
        f"# {evaluation.respondent} on {', '.join(source.name for source in evaluation.conditions.sources)}",
        "",
        f"{found.metric} **{_percent(found.official)}**{within}, authors' containment {_percent(found.contains)}",
        f"{found.questions:,} questions about {found.images:,} images"
        + (f", {found.failed:,} without an answer" * bool(found.failed)),
    ]
    said += [f"{name} {_percent(value)}" for name, value in found.beside.items()]
    said += [f"words by {found.tokenizer}"] if found.tokenizer else []
    if found.prompt_tokens:
        cost = f", ${found.cost_usd:,.4f} by the price table" if found.cost_usd else ""
        said.append(f"{found.prompt_tokens:,} tokens in and {found.completion_tokens:,} out{cost}")
    said += _leaks([evaluation])
    for title, parts in (("data set", found.datasets), ("split", found.splits), ("kind", found.kinds)):
        said += ["", *_parts(title, found.metric, parts)] if parts else []
    return said


def _parts(title: str, metric: str, parts: Mapping[str, Part]) -> list[str]:
    rows = [
        (
            name or "(none)",
            f"{part.questions:,}",
            "" if part.official is None else _percent(part.official),
            _percent(part.contains),
        )
        for name, part in parts.items()
    ]
    return _table((title, "questions", metric, "contains"), rows)


def comparison_lines(found: Compared) -> list[str]:
    """What changed from the first to the second, and whether that may be chance."""
    overall, metric = found.comparison.overall, found.before.conditions.metric
    before, after = found.before.respondent, found.after.respondent
    said = [
        f"# {after} against {before}",
        "",
        f"{metric} {_percent(overall.before)} before, {_percent(overall.after)} after: **{found.difference * 100:+.1f}** "
        f"(95 %: {found.interval.low * 100:+.1f} to {found.interval.high * 100:+.1f}, paired bootstrap over images)",
    ]
    if found.mcnemar_p is not None:
        said.append(f"fixed {overall.fixed:,}, broken {overall.broken:,}, McNemar p {format_p(found.mcnemar_p)}")
    said += _leaks([found.before, found.after])
    kinds = found.comparison.kinds
    said += ["", *_kinds(kinds, is_graded=found.mcnemar_p is None)] if len(kinds) > 1 else []
    for title, changed in (("fixed", found.fixed), ("broken", found.broken)):
        said += ["", *_table((title, "question", "reference", "before", "after"), map(_cells, changed))] if changed else []
    return said


def _kinds(kinds: Mapping[str, Tally], *, is_graded: bool) -> list[str]:
    def counts(tally: Tally) -> tuple[str, ...]:
        return () if is_graded else (f"{tally.fixed:,}", f"{tally.broken:,}")

    heads = ("kind", "questions", "before", "after") + (() if is_graded else ("fixed", "broken"))
    return _table(
        heads,
        [(name, f"{t.questions:,}", _percent(t.before), _percent(t.after), *counts(t)) for name, t in kinds.items()],
    )


def _cells(changed: Changed) -> tuple[str, ...]:
    texts = (changed.image, changed.question, changed.reference, changed.before, changed.after)
    return tuple(" ".join(text.split()).replace("|", "\\|") for text in texts)


def _leaks(evaluations: Iterable[Evaluation]) -> list[str]:
    leaked = max(evaluation.leaked for evaluation in evaluations)
    return [f"**LEAKED: {leaked:,} of these images are in the pool that was learned from**"] if leaked else []


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    filled = [list(heads), *map(list, rows)]
    widths = [max(len(row[column]) for row in filled) for column in range(len(heads))]
    drawn = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in filled]
    return [drawn[0], "| " + " | ".join("-" * width for width in widths) + " |", *drawn[1:]]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
