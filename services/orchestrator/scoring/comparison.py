"""Two models on the same questions, paired, with the questions that only one has right."""

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
    """A comparison of two evaluations.

    `difference` is after minus before, `interval` its 95 % by paired bootstrap over images. For
    captions, which are neither right nor wrong, `mcnemar_p` is None, and `fixed` and `broken` are
    the captions that changed most.
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
    """Compare the evaluations in two folders.

    Raises InvalidInput if their questions or metrics differ, NotFound, WrongState.
    """
    first, rows = stored(before)
    second, others = stored(after)
    _require_comparable(first, second, rows, others)
    task, metric = first.conditions.task, first.conditions.metric
    _, scores = figures(rows, task, metric)
    _, other_scores = figures(others, task, metric)
    if not scores:
        raise InvalidInput(
            f"{metric} scores no single caption, so two models can't be paired by it: "
            "evaluate with cider"
        )
    kinds = [row.kind for row in rows]
    judgements = list(map(Judgement, kinds, scores, other_scores))
    comparison = compare(judgements)
    differences = [judged.after - judged.before for judged in judgements]
    images = [f"{row.dataset}/{row.image}" for row in rows]
    is_graded = metric in CORPUS_METRICS
    largest_first = sorted(range(len(rows)), key=lambda number: -abs(differences[number]))

    def chosen(sign: int) -> tuple[Changed, ...]:
        numbers = [
            number
            for number in largest_first
            if differences[number] * sign > 0 and (is_graded or _has_changed(judgements[number]))
        ]
        return tuple(_changed(rows[number], others[number]) for number in numbers[:examples])

    return Compared(
        before=first,
        after=second,
        comparison=comparison,
        difference=sum(differences) / len(differences) if differences else 0.0,
        interval=bootstrap(zip(images, differences, strict=True)),
        mcnemar_p=None if is_graded else comparison.mcnemar_p,
        fixed=chosen(1),
        broken=chosen(-1),
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
            raise InvalidInput(
                f"the two evaluations can't be compared: {name} {one} and {other}: "
                f"evaluate both with the same {name}"
            )
    if [(row.key, row.answers) for row in rows] != [(row.key, row.answers) for row in others]:
        only = {row.key for row in rows} ^ {row.key for row in others}
        example = f", such as {sorted(only)[0][1]}" if only else ", or other references"
        raise InvalidInput(
            "the two evaluations have different questions "
            f"({len(only):,} are in one only{example}): evaluate both on the same data sets"
        )
