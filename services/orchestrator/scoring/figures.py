"""The figures of an evaluation: official metric and authors' containment, by kind and split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.core.intervals import Interval, bootstrap
from services.core.metrics import yes_or_no
from services.core.tasks import TASKS
from services.orchestrator.scoring.metrics import score
from services.orchestrator.scoring.predictions import Prediction

CONTAINS = "contains_accuracy"


@dataclass(frozen=True, slots=True)
class ScoredPart:
    """Some of the questions. `official` is None if the metric scores no single answer."""

    questions: int
    official: float | None
    contains: float


@dataclass(frozen=True, slots=True)
class ScoreFigures:
    """The figures of an evaluation; scores are 0 to 1 (CIDEr 0 to 10)."""

    metric: str
    """Official metric."""
    questions: int
    """Number of questions."""
    images: int
    """Number of images."""
    failed: int
    """Number of questions without an answer, which count as wrong."""
    official: float
    """Score by the official metric."""
    interval: Interval | None
    """95 % interval of the official score over images; None for a metric without single scores."""
    contains: float
    """Authors' containment."""
    beside: dict[str, float] = field(default_factory=dict)
    """Other figures by name."""
    tokenizer: str = ""
    """Tokenizer of captions; "" for answers."""
    prompt_tokens: int = 0
    """Tokens of all prompts."""
    completion_tokens: int = 0
    """Tokens of all answers."""
    cost_usd: float = 0.0
    """Cost in dollars by the price table."""
    kinds: dict[str, ScoredPart] = field(default_factory=dict)
    """Scores by kind of question; empty if there is one kind."""
    splits: dict[str, ScoredPart] = field(default_factory=dict)
    """Scores by split; empty if there is one split."""
    datasets: dict[str, ScoredPart] = field(default_factory=dict)
    """Scores by data set; empty if there is one."""


def figures(
    predictions: Sequence[Prediction], task: str, metric: str = ""
) -> tuple[ScoreFigures, tuple[float, ...]]:
    """The figures, and the official score of each prediction. `metric` overrides the task's.

    Raises InvalidInput.
    """
    official = metric or TASKS[task].metric
    others = [name for name in TASKS[task].beside if name != official]
    given = [row.prediction for row in predictions]
    wanted = [row.answers for row in predictions]
    main, contains, *rest = score([official, CONTAINS, *others], given, wanted)

    def by(group: Callable[[Prediction], str]) -> dict[str, ScoredPart]:
        groups: dict[str, list[int]] = defaultdict(list)
        for number, row in enumerate(predictions):
            groups[group(row)].append(number)
        parts = {
            name: _part(numbers, main.each, contains.each)
            for name, numbers in sorted(groups.items())
        }
        return parts if len(parts) > 1 else {}

    beside = {scored.metric: scored.figure for scored in rest}
    if official == "yes_no_accuracy":
        beside |= _yes_no(predictions)
    interval = None
    if main.each:
        interval = bootstrap(zip(map(_image, predictions), main.each, strict=True))
    found = ScoreFigures(
        metric=official,
        questions=len(predictions),
        images=len({_image(row) for row in predictions}),
        failed=sum(bool(row.error) for row in predictions),
        official=main.figure,
        interval=interval,
        contains=contains.figure,
        beside=beside,
        tokenizer=main.tokenizer,
        prompt_tokens=sum(row.prompt_tokens for row in predictions),
        completion_tokens=sum(row.completion_tokens for row in predictions),
        cost_usd=sum(row.cost_usd for row in predictions),
        kinds=by(lambda row: row.kind),
        splits=by(lambda row: row.split),
        datasets=by(lambda row: row.dataset),
    )
    return found, main.each


def _image(row: Prediction) -> str:
    return f"{row.dataset}/{row.image}"


def _part(
    numbers: Sequence[int], official: Sequence[float], contains: Sequence[float]
) -> ScoredPart:
    def mean(scores: Sequence[float]) -> float:
        return sum(scores[number] for number in numbers) / len(numbers)

    return ScoredPart(len(numbers), mean(official) if official else None, mean(contains))


def _yes_no(predictions: Sequence[Prediction]) -> dict[str, float]:
    """The share of answers that are neither yes nor no, and the scores of a constant answer."""
    count = len(predictions) or 1
    said_yes = sum("yes" in map(yes_or_no, row.answers) for row in predictions)
    unknown = sum(not yes_or_no(row.prediction) for row in predictions)
    return {
        "unknown": unknown / count,
        "always yes": said_yes / count,
        "always no": (len(predictions) - said_yes) / count,
    }
