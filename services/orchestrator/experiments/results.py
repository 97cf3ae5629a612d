"""What an experiment found: a row for each arm, student, teacher, task and test, over the seeds, compared with zero-shot.

results.json and results.parquet hold the rows. Scores are 0 to 1 (CIDEr 0 to 10).
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pyarrow
import pyarrow.parquet

from services.core.evaluation import Judgement, bootstrap, compare
from services.core.metrics import CORPUS_METRICS
from services.core.presets import PRESETS
from services.files import write_atomically
from services.orchestrator.experiments.experiment import Entry, Experiment
from services.orchestrator.experiments.measured import Latency
from services.orchestrator.experiments.plan import Subject, evaluation_folder, measured_on, subjects
from services.orchestrator.experiments.trained import Trained
from services.orchestrator.scoring.evaluation import stored
from services.orchestrator.scoring.metrics import score

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Row:
    """`mean` and `sd` are of the official `metric` over the seeds, `scores` has each; `contains` is the authors' containment.

    `samples` that were trained on. `gain` over the same student untrained, with its 95 % interval by paired bootstrap over
    images (seeds averaged); `fixed` and `broken` questions, mean of the seeds; `p`: McNemar's, the largest of the seeds, so
    that all have to bear it out. None where there is nothing to compare with, or answers are neither right nor wrong.
    `latency_s` and `parameters` are of the model. `reason`: why nothing was trained.
    """

    arm: str
    student: str
    teacher: str
    task: str
    on: str
    metric: str
    seeds: int = 0
    questions: int = 0
    samples: float = 0.0
    mean: float | None = None
    sd: float | None = None
    scores: tuple[float, ...] = ()
    contains: float | None = None
    contains_sd: float | None = None
    beside: dict[str, float] = field(default_factory=dict)
    zero_shot: float | None = None
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    fixed: float | None = None
    broken: float | None = None
    p: float | None = None
    failed: int = 0
    train_seconds: float = 0.0
    latency_s: float | None = None
    parameters: int = 0
    reason: str = ""

    @property
    def is_significant(self) -> bool:
        """By p; where there is none, by the interval."""
        if self.gain is None or self.low is None or self.high is None:
            return False
        return self.p < SIGNIFICANT if self.p is not None else not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class Change:
    """Of a row, where there is something to compare it with."""

    zero_shot: float | None = None
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    fixed: float | None = None
    broken: float | None = None
    p: float | None = None


class Answers:
    """One finished evaluation, scored question by question."""

    def __init__(self, folder: Path) -> None:
        evaluation, self._rows = stored(folder)
        self.metric = evaluation.conditions.metric
        figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
        self.official, self.contains = float(figures["official"]), float(figures["contains"])
        self.beside: dict[str, float] = figures["beside"]
        self.failed = int(figures["failed"])

    @cached_property
    def each(self) -> Sequence[float]:
        given, wanted = [row.prediction for row in self._rows], [row.answers for row in self._rows]
        return score([self.metric], given, wanted)[0].each

    @property
    def images(self) -> list[str]:
        return [f"{row.dataset}/{row.image}" for row in self._rows]

    @property
    def kinds(self) -> list[str]:
        return [row.kind for row in self._rows]


def collect(experiment: Experiment, out: Path) -> list[Row]:
    """Of everything that is finished; an experiment that is still at work has fewer rows and fewer seeds."""
    groups: dict[tuple[str, str, str, str, str], list[tuple[Subject, Entry]]] = defaultdict(list)
    for subject in subjects(experiment):
        for entry in measured_on(experiment, subject):
            key = (subject.arm.name, subject.student, subject.teacher, subject.task, entry.name)
            groups[key].append((subject, entry))
    known: dict[Path, Answers] = {}

    def answers(subject: Subject, entry: Entry) -> Answers | None:
        folder = evaluation_folder(out, subject, entry)
        if folder not in known and (folder / "figures.json").is_file():
            known[folder] = Answers(folder)
        return known.get(folder)

    untrained = {subject.student: subject for subject in subjects(experiment) if subject.arm.name == "zero-shot"}
    rows = []
    for key, group in groups.items():
        entry = group[0][1]
        before = answers(untrained[key[1]], entry) if key[1] in untrained else None
        after = [found for subject, of in group if (found := answers(subject, of))]
        trained = [one for subject, _ in group if (one := Trained.read(out / subject.path))]
        if after or any(one.reason for one in trained):
            rows.append(_row(key, entry, group[0][0], before, after, trained, _latency(out, group[0][0], untrained)))
    return rows


def _latency(out: Path, subject: Subject, untrained: dict[str, Subject]) -> float | None:
    timed = untrained.get(subject.student, subject)
    found = Latency.read(out / timed.path)
    return found.median_s if found else None


def _row(
    key: tuple[str, str, str, str, str],
    entry: Entry,
    subject: Subject,
    before: Answers | None,
    after: Sequence[Answers],
    trained: Sequence[Trained],
    latency_s: float | None,
) -> Row:
    preset = PRESETS[subject.student or subject.teacher]
    reasons = [found.reason for found in trained if found.reason]
    if not after:
        return Row(*key, entry.task.metric, latency_s=latency_s, parameters=preset.parameters, reason=reasons[0])
    scores = tuple(found.official for found in after)
    names = after[0].beside
    return Row(
        *key,
        after[0].metric,
        seeds=len(after),
        questions=len(after[0].images),
        samples=statistics.mean(found.samples for found in trained) if trained else 0.0,
        mean=statistics.mean(scores),
        sd=statistics.stdev(scores) if len(scores) > 1 else None,
        scores=scores,
        contains=statistics.mean(found.contains for found in after),
        contains_sd=statistics.stdev(found.contains for found in after) if len(after) > 1 else None,
        beside={name: statistics.mean(found.beside[name] for found in after) for name in names},
        **asdict(_change(before, after) if before is not None and subject.arm.is_trained else Change()),
        failed=sum(found.failed for found in after),
        train_seconds=statistics.mean(found.seconds for found in trained) if trained else 0.0,
        latency_s=latency_s,
        parameters=preset.parameters,
        reason=reasons[0] if reasons else "",
    )


def _change(before: Answers, after: Sequence[Answers]) -> Change:
    """From the untrained student to the trained ones, on the same questions."""
    compared = [compare(map(Judgement, before.kinds, before.each, found.each)) for found in after]
    seeds = zip(*(found.each for found in after), strict=True)
    differences = [statistics.fmean(scores) - was for scores, was in zip(seeds, before.each, strict=True)]
    interval = bootstrap(zip(before.images, differences, strict=True))
    gain = statistics.mean(one.official for one in after) - before.official
    change = Change(before.official, gain, interval.low, interval.high)
    if before.metric in CORPUS_METRICS:
        return change
    return replace(
        change,
        fixed=statistics.mean(one.overall.fixed for one in compared),
        broken=statistics.mean(one.overall.broken for one in compared),
        p=max(one.mcnemar_p for one in compared),
    )


def write(rows: Sequence[Row], folder: Path, name: str) -> None:
    """NAME.json, a list of objects, and NAME.parquet, where `beside` is JSON."""
    listed = [asdict(row) for row in rows]
    write_atomically(folder / f"{name}.json", json.dumps(listed, indent=1, ensure_ascii=False) + "\n")
    sink = pyarrow.BufferOutputStream()
    table = pyarrow.Table.from_pylist([{**row, "beside": json.dumps(row["beside"])} for row in listed])
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    write_atomically(folder / f"{name}.parquet", sink.getvalue().to_pybytes())
