"""What an experiment found: a row for each arm, student, teacher, task and test, over the seeds, compared with zero-shot.

Scores are 0 to 1 (CIDEr 0 to 10).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow
import pyarrow.parquet

from services.core.presets import PRESETS
from services.files import write_atomically
from services.orchestrator.experiments.comparisons import (
    NO_CHANGE,
    Answers,
    Evaluations,
    KindChange,
    ScoreChange,
    by_kind,
    change,
)
from services.orchestrator.experiments.experiment import Experiment
from services.orchestrator.experiments.measured import Latency
from services.orchestrator.experiments.plan import Group, groups, subjects
from services.orchestrator.experiments.trained import TrainedArm
from services.orchestrator.experiments.versus import Versus


@dataclass(frozen=True, slots=True)
class Row:
    """`mean` and `sd` are of the official `metric` over the seeds, `scores` has each; `contains` is the authors' containment.

    `samples` that were trained on. `change` is from the same student untrained, `kinds` the same by kind of question.
    `latency_s` and `parameters` are the model's. `reason`: why nothing was trained.
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
    change: ScoreChange = NO_CHANGE
    kinds: tuple[KindChange, ...] = ()
    failed: int = 0
    train_seconds: float = 0.0
    latency_s: float | None = None
    parameters: int = 0
    reason: str = ""


def collect(experiment: Experiment, out: Path, evaluations: Evaluations) -> list[Row]:
    """Of everything that is finished; an experiment that is still at work has fewer rows and fewer seeds."""
    untrained = {
        subject.student: subject
        for subject in subjects(experiment)
        if subject.arm.name == "zero-shot"
    }
    rows = []
    for group in groups(experiment):
        base = untrained.get(group.subjects[0].student)
        before = evaluations.find(base, group.entry) if base else None
        after = [
            found for subject in group.subjects if (found := evaluations.find(subject, group.entry))
        ]
        trained = [
            one for subject in group.subjects if (one := TrainedArm.read(out / subject.path))
        ]
        if after or any(one.reason for one in trained):
            latency = Latency.read(out / (base or group.subjects[0]).path)
            rows.append(_row(group, before, after, trained, latency.median_s if latency else None))
    return rows


def _row(
    group: Group,
    before: Answers | None,
    after: Sequence[Answers],
    trained: Sequence[TrainedArm],
    latency_s: float | None,
) -> Row:
    subject = group.subjects[0]
    parameters = PRESETS[subject.student or subject.teacher].parameters
    reason = next((found.reason for found in trained if found.reason), "")
    if not after:
        return Row(
            *group.names,
            group.entry.task.metric,
            latency_s=latency_s,
            parameters=parameters,
            reason=reason,
        )
    scores = tuple(found.official for found in after)
    base = before if subject.arm.is_trained else None
    return Row(
        *group.names,
        after[0].metric,
        seeds=len(after),
        questions=len(after[0].images),
        samples=statistics.mean(found.samples for found in trained) if trained else 0.0,
        mean=statistics.mean(scores),
        sd=statistics.stdev(scores) if len(scores) > 1 else None,
        scores=scores,
        contains=statistics.mean(found.contains for found in after),
        contains_sd=statistics.stdev(found.contains for found in after) if len(after) > 1 else None,
        beside={
            name: statistics.mean(found.beside[name] for found in after) for name in after[0].beside
        },
        zero_shot=base.official if base else None,
        change=change([base] * len(after), after) if base else NO_CHANGE,
        kinds=by_kind([base] * len(after), after) if base else (),
        failed=sum(found.failed for found in after),
        train_seconds=statistics.mean(found.seconds for found in trained) if trained else 0.0,
        latency_s=latency_s,
        parameters=parameters,
        reason=reason,
    )


def write(rows: Sequence[Row], compared: Sequence[Versus], folder: Path, name: str) -> None:
    """NAME.json, a list of objects, and NAME.parquet, where `beside` and `kinds` are JSON; NAME-versus.json."""
    listed = [_flat(row) for row in rows]
    write_atomically(folder / f"{name}.json", _json(listed))
    write_atomically(folder / f"{name}-versus.json", _json([_flat(one) for one in compared]))
    sink = pyarrow.BufferOutputStream()
    table = pyarrow.Table.from_pylist(
        [{**row, **{key: json.dumps(row[key]) for key in ("beside", "kinds")}} for row in listed]
    )
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    write_atomically(folder / f"{name}.parquet", sink.getvalue().to_pybytes())


def _flat(one: Row | Versus) -> dict[str, object]:
    """What has changed stands beside the rest."""
    fields = asdict(one)
    change: dict[str, object] = fields.pop("change")
    return {**fields, **change}


def _json(listed: Sequence[dict[str, object]]) -> str:
    return json.dumps(listed, indent=1, ensure_ascii=False) + "\n"
