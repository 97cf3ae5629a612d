"""Two models on the same questions: paired, with what the one has right and the other hasn't."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidInput
from services.core.evaluation import Comparison, Judgement, compare
from services.core.intervals import Interval, bootstrap
from services.core.metrics import CORPUS_METRICS
from services.orchestrator.scoring.conditions import ScoredEvaluation
from services.orchestrator.scoring.evaluation import stored
from services.orchestrator.scoring.figures import figures
from services.orchestrator.scoring.predictions import Prediction


@dataclass(frozen=True, slots=True)
class Changed:
    """A question with both answers."""

    image: str
    question: str
    reference: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Compared:
    """`difference` is after minus before, `interval` its 95 % by paired bootstrap over images.

    `mcnemar_p` None where answers aren't right or wrong (captions); `fixed` and `broken` are then those that changed most.
    """

    before: ScoredEvaluation
    after: ScoredEvaluation
    comparison: Comparison
    difference: float
    interval: Interval
    mcnemar_p: float | None
    fixed: tuple[Changed, ...]
    broken: tuple[Changed, ...]


def compare_evaluations(before: Path, after: Path, examples: int) -> Compared:
    """Raises InvalidInput where they aren't of the same questions by the same metric, NotFound, WrongState."""
    (first, rows), (second, others) = stored(before), stored(after)
    _require_comparable(first, second, rows, others)
    task, metric = first.conditions.task, first.conditions.metric
    scores = [figures(each, task, metric)[1] for each in (rows, others)]
    if not scores[0]:
        raise InvalidInput(
            f"{metric} scores no single caption, so two models can't be paired by it: evaluate with cider"
        )
    judgements = [Judgement(row.kind, a, b) for row, a, b in zip(rows, *scores, strict=True)]
    comparison = compare(judgements)
    differences = [judged.after - judged.before for judged in judgements]
    is_graded = metric in CORPUS_METRICS
    changed = sorted(
        zip(differences, range(len(rows)), strict=True), key=lambda pair: (-abs(pair[0]), pair[1])
    )

    def chosen(sign: int) -> tuple[Changed, ...]:
        numbers = [
            n for by, n in changed if by * sign > 0 and (is_graded or _has_changed(judgements[n]))
        ]
        return tuple(_changed(rows[n], others[n]) for n in numbers[:examples])

    return Compared(
        first,
        second,
        comparison,
        sum(differences) / len(differences) if differences else 0.0,
        bootstrap(
            (f"{row.dataset}/{row.image}", by) for row, by in zip(rows, differences, strict=True)
        ),
        None if is_graded else comparison.mcnemar_p,
        chosen(1),
        chosen(-1),
    )


def _has_changed(judged: Judgement) -> bool:
    return (judged.before >= 0.5) != (judged.after >= 0.5)


def _changed(row: Prediction, other: Prediction) -> Changed:
    return Changed(row.image, row.question, row.answers[0], row.prediction, other.prediction)


def _require_comparable(
    first: ScoredEvaluation,
    second: ScoredEvaluation,
    rows: Sequence[Prediction],
    others: Sequence[Prediction],
) -> None:
    for name in ("task", "metric"):
        one, other = getattr(first.conditions, name), getattr(second.conditions, name)
        if one != other:
            raise InvalidInput(f"the two evaluations can't be compared: {name} {one} and {other}")
    if [(row.key, row.answers) for row in rows] != [(row.key, row.answers) for row in others]:
        only = {row.key for row in rows} ^ {row.key for row in others}
        example = f", such as {sorted(only)[0][1]}" if only else ", or other references"
        raise InvalidInput(
            f"the two evaluations are of other questions ({len(only):,} are in one only{example})"
        )
