"""Evaluations of the same questions, a pair for each seed: what changed, and whether that may be chance."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from sys import intern

from services.core.evaluation import Judgement, compare
from services.core.intervals import bootstrap
from services.core.metrics import CORPUS_METRICS
from services.orchestrator.experiments.experiment import TaskEntry
from services.orchestrator.experiments.plan import MeasuredModel, evaluation_folder
from services.orchestrator.scoring.evaluation import stored
from services.orchestrator.scoring.metrics import score

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Answers:
    """One finished evaluation: `each` is the official score of every question, with the `images` and `kinds` of them."""

    metric: str
    official: float
    contains: float
    beside: dict[str, float]
    failed: int
    each: tuple[float, ...]
    images: tuple[str, ...]
    kinds: tuple[str, ...]

    @staticmethod
    def read(folder: Path) -> Answers:
        evaluation, rows = stored(folder)
        metric = evaluation.conditions.metric
        figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
        return Answers(
            *(
                metric,
                float(figures["official"]),
                float(figures["contains"]),
                figures["beside"],
                int(figures["failed"]),
            ),
            each=score([metric], [row.prediction for row in rows], [row.answers for row in rows])[
                0
            ].each,
            images=tuple(intern(f"{row.dataset}/{row.image}") for row in rows),
            kinds=tuple(intern(row.kind) for row in rows),
        )


class Evaluations:
    """Those that are finished below `out`, each read once."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._known: dict[Path, Answers] = {}

    def find(self, subject: MeasuredModel, entry: TaskEntry) -> Answers | None:
        folder = evaluation_folder(self._out, subject, entry)
        if folder not in self._known and (folder / "figures.json").is_file():
            self._known[folder] = Answers.read(folder)
        return self._known.get(folder)


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """Of the official score, from one model to another; None where nothing is compared.

    `gain` with its 95 % interval by paired bootstrap over images (seeds averaged); `fixed` and `broken` questions, mean of the
    seeds; `p`: McNemar's, the largest of the seeds, so that all have to bear it out. Captions are neither right nor wrong: no
    `fixed`, `broken` and `p`.
    """

    gain: float | None = None
    low: float | None = None
    high: float | None = None
    fixed: float | None = None
    broken: float | None = None
    p: float | None = None

    @property
    def is_significant(self) -> bool:
        """By p; where there is none, by the interval."""
        if self.low is None or self.high is None:
            return False
        return self.p < SIGNIFICANT if self.p is not None else not self.low <= 0 <= self.high


NO_CHANGE = ScoreChange()


@dataclass(frozen=True, slots=True)
class KindChange:
    """The questions of one kind, from one model to another: scores, and how many were fixed and broken, means of the seeds."""

    kind: str
    questions: int
    before: float
    after: float
    fixed: float
    broken: float


def change(before: Sequence[Answers], after: Sequence[Answers]) -> ScoreChange:
    """On the same questions, seed by seed."""
    pairs = list(zip(before, after, strict=True))
    compared = [compare(map(Judgement, was.kinds, was.each, now.each)) for was, now in pairs]
    differences = [
        statistics.fmean(now - was for was, now in of_question)
        for of_question in zip(
            *(zip(was.each, now.each, strict=True) for was, now in pairs), strict=True
        )
    ]
    interval = bootstrap(zip(before[0].images, differences, strict=True))
    found = ScoreChange(
        statistics.mean(now.official - was.official for was, now in pairs),
        interval.low,
        interval.high,
    )
    if before[0].metric in CORPUS_METRICS:
        return found
    return replace(
        found,
        fixed=statistics.mean(one.overall.fixed for one in compared),
        broken=statistics.mean(one.overall.broken for one in compared),
        p=max(one.mcnemar_p for one in compared),
    )


def by_kind(before: Sequence[Answers], after: Sequence[Answers]) -> tuple[KindChange, ...]:
    """As `change`, of each kind of question; nothing where all are of one kind, or captions."""
    if before[0].metric in CORPUS_METRICS:
        return ()
    pairs = zip(before, after, strict=True)
    compared = [compare(map(Judgement, was.kinds, was.each, now.each)).kinds for was, now in pairs]
    return tuple(
        KindChange(
            kind,
            of_kind.questions,
            of_kind.before,
            *(
                statistics.fmean(getattr(one[kind], name) for one in compared)
                for name in ("after", "fixed", "broken")
            ),
        )
        for kind, of_kind in compared[0].items()
        if len(compared[0]) > 1
    )
