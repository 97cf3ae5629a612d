"""Comparison of evaluations of the same questions, a pair for each seed, and its significance."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from sys import intern

from services.core.evaluation import Judgement, compare
from services.core.intervals import paired
from services.core.metrics import CORPUS_METRICS
from services.orchestrator.experiments.experiment import TaskEntry
from services.orchestrator.experiments.plan import MeasuredModel, evaluation_folder
from services.orchestrator.scoring.evaluation import stored
from services.orchestrator.scoring.metrics import score

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Answers:
    """One finished evaluation. `each`, `images`, `kinds`: score, image and kind by question."""

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
        scored = score([metric], [row.prediction for row in rows], [row.answers for row in rows])
        return Answers(
            metric=metric,
            official=float(figures["official"]),
            contains=float(figures["contains"]),
            beside=figures["beside"],
            failed=int(figures["failed"]),
            each=scored[0].each,
            images=tuple(intern(f"{row.dataset}/{row.image}") for row in rows),
            kinds=tuple(intern(row.kind) for row in rows),
        )


class Evaluations:
    """Finished evaluations below `out`, each read once."""

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
    """Change of the official score from one model to another; None if nothing is compared.

    `gain` has a 95 % interval by paired bootstrap over images and seeds, and `p_paired` is its
    p-value. `fixed` and `broken` questions are means of the seeds. `p` is McNemar's, the largest of
    the seeds, so that all seeds confirm it. Captions are neither right nor wrong: no `fixed`,
    `broken` and `p`.
    """

    gain: float | None = None
    low: float | None = None
    high: float | None = None
    fixed: float | None = None
    broken: float | None = None
    p: float | None = None
    p_paired: float | None = None

    @property
    def is_significant(self) -> bool:
        """Is the change significant by p, or by the interval if there is no p?"""
        if self.low is None or self.high is None:
            return False
        return self.p < SIGNIFICANT if self.p is not None else not self.low <= 0 <= self.high


NO_CHANGE = ScoreChange()


@dataclass(frozen=True, slots=True)
class KindChange:
    """Change of one kind of question: scores, fixed and broken questions, means of the seeds.

    `low`, `high`, `p`: 95 % interval of the gain and its p-value, as those of ScoreChange by paired
    bootstrap.
    """

    kind: str
    questions: int
    before: float
    after: float
    fixed: float
    broken: float
    low: float
    high: float
    p: float


def change(before: Sequence[Answers], after: Sequence[Answers]) -> ScoreChange:
    """Compare the same questions, seed by seed."""
    pairs = list(zip(before, after, strict=True))
    compared = [compare(map(Judgement, was.kinds, was.each, now.each)) for was, now in pairs]
    effect = paired([_differences(was, now) for was, now in pairs], before[0].images)
    found = ScoreChange(
        gain=statistics.mean(now.official - was.official for was, now in pairs),
        low=effect.interval.low,
        high=effect.interval.high,
        p_paired=effect.p,
    )
    if before[0].metric in CORPUS_METRICS:
        return found
    return replace(
        found,
        fixed=statistics.mean(one.overall.fixed for one in compared),
        broken=statistics.mean(one.overall.broken for one in compared),
        p=max(one.mcnemar_p for one in compared),
    )


def _differences(was: Answers, now: Answers, kind: str = "") -> list[float]:
    """After minus before for each question, or for each of one kind."""
    scores = zip(was.kinds, was.each, now.each, strict=True)
    return [after - before for of, before, after in scores if kind in ("", of)]


def by_kind(before: Sequence[Answers], after: Sequence[Answers]) -> tuple[KindChange, ...]:
    """Compare each kind of question; () if there is one kind only, or for captions."""
    if before[0].metric in CORPUS_METRICS:
        return ()
    pairs = list(zip(before, after, strict=True))
    compared = [compare(map(Judgement, was.kinds, was.each, now.each)).kinds for was, now in pairs]
    if len(compared[0]) < 2:
        return ()
    found = []
    for kind, first in compared[0].items():
        tallies = [one[kind] for one in compared]
        named = zip(before[0].kinds, before[0].images, strict=True)
        images = [image for of, image in named if of == kind]
        effect = paired([_differences(*pair, kind) for pair in pairs], images)
        found.append(
            KindChange(
                kind=kind,
                questions=first.questions,
                before=first.before,
                after=statistics.fmean(tally.after for tally in tallies),
                fixed=statistics.fmean(tally.fixed for tally in tallies),
                broken=statistics.fmean(tally.broken for tally in tallies),
                low=effect.interval.low,
                high=effect.interval.high,
                p=effect.p,
            )
        )
    return tuple(found)
