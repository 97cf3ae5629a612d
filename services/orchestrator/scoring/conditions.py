"""Conditions of an evaluation: model, data sets as they are now, metric, prompt.

Evaluations with different conditions never mix.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from services.core.errors import InvalidInput
from services.core.metrics import CORPUS_METRICS, METRICS
from services.core.pixels import UNLIMITED, PixelBudget
from services.core.tasks import TASKS
from services.orchestrator.datasets.checks import Problem, check, pool_images
from services.orchestrator.datasets.dataset import Dataset
from services.orchestrator.scoring.tokens import find_tokenizer

FORCIBLE = (Problem.LEAK, Problem.IMAGE, Problem.ANSWERS)
"""Problems that `--force` accepts: leaks are marked, questions without an image count as wrong."""


@dataclass(frozen=True, slots=True)
class EvaluatedDataset:
    """A data set as it was when evaluated. `leaked`: the number of its images in the pool."""

    name: str
    file: str
    sha256: str
    split: str
    leaked: int = 0


@dataclass(frozen=True, slots=True)
class Conditions:
    """Settings that comparable evaluations share. `limit`: questions per data set, 0 for all."""

    task: str
    metric: str
    template: str
    max_new_tokens: int
    limit: int
    sources: tuple[EvaluatedDataset, ...]


@dataclass(frozen=True, slots=True)
class ScoredEvaluation:
    """An evaluation: its conditions and its model.

    `respondent`: the model's name. `by`: its weights or fingerprint, "" before the first answer.
    `pixel_budget`: that of the images it is sent, None before the first one. An evaluation that an
    earlier release began continues with images that are not shrunk.
    """

    asked: str
    conditions: Conditions
    respondent: str = ""
    by: str = ""
    pixel_budget: PixelBudget | None = None

    @property
    def leaked(self) -> int:
        return sum(source.leaked for source in self.conditions.sources)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ScoredEvaluation:
        fields = json.loads(text)
        conditions = fields.pop("conditions")
        sources = tuple(EvaluatedDataset(**source) for source in conditions.pop("sources"))
        pixels = fields.pop("pixel_budget", asdict(UNLIMITED))
        return cls(
            conditions=Conditions(sources=sources, **conditions),
            pixel_budget=PixelBudget(**pixels) if pixels else None,
            **fields,
        )


def plan(
    datasets: Sequence[Dataset],
    task: str,
    asked: str,
    *,
    metric: str,
    template: str,
    limit: int,
    pool: str,
    force: bool,
) -> ScoredEvaluation:
    """Plan an evaluation and check its data sets.

    Raises InvalidInput for a fault of a data set, unless it is forced, and for a wrong metric.
    """
    _require_metric(task, metric)
    if TASKS[task].metric in CORPUS_METRICS:
        find_tokenizer()  # a missing one must be reported before anything is paid for
    in_pool = pool_images(pool) if pool else None
    sources = []
    for dataset in datasets:
        found = check(dataset, task, in_pool)
        found.require_sound(str(dataset.path), besides=FORCIBLE if force else ())
        with dataset.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        sources.append(
            EvaluatedDataset(
                dataset.name, dataset.path.name, digest, dataset.split, len(found.leaked)
            )
        )
    names = [source.name for source in sources]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise InvalidInput(
            f"two data sets are named {repeated[0]}: evaluate them apart, or rename one"
        )
    conditions = Conditions(
        task=task,
        metric=metric or TASKS[task].metric,
        template=template or TASKS[task].answer_template,
        max_new_tokens=TASKS[task].max_new_tokens,
        limit=limit,
        sources=tuple(sources),
    )
    return ScoredEvaluation(asked, conditions)


def _require_metric(task: str, metric: str) -> None:
    """Check that a metric fits the task. Raises InvalidInput."""
    if not metric:
        return
    if metric not in METRICS and metric not in CORPUS_METRICS:
        raise InvalidInput(
            f"there is no metric {metric!r}: "
            f"choose one of {', '.join([*METRICS, *CORPUS_METRICS])}",
            field="metric",
        )
    if (metric in CORPUS_METRICS) != (TASKS[task].metric in CORPUS_METRICS):
        raise InvalidInput(
            f"{metric} does not score {task}: its metric is {TASKS[task].metric}", field="metric"
        )
    if metric == "yes_no_accuracy" and TASKS[task].metric != metric:
        raise InvalidInput(
            f"{metric} does not score {task}, whose answers are more than yes and no",
            field="metric",
        )
