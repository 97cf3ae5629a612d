"""Results of an experiment: a row for each arm, student, teacher, task and test, over the seeds.

Each is compared with zero-shot. Scores are 0 to 1 (CIDEr 0 to 10).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
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
from services.orchestrator.experiments.experiment import TEST, Experiment
from services.orchestrator.experiments.judged import HeldOutScore
from services.orchestrator.experiments.measured import Latency
from services.orchestrator.experiments.plan import Group, groups, subjects
from services.orchestrator.experiments.trained import TrainedArm
from services.orchestrator.experiments.versus import Versus


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one arm, student, teacher and task on one test."""

    arm: str
    """Name of the arm."""
    student: str
    """Preset of the student; "" for a teacher's own row."""
    teacher: str
    """Preset of the teacher; "" if the arm needs none."""
    task: str
    """Task trained on; "" if nothing is trained."""
    on: str
    """Task measured on."""
    metric: str
    """Official metric."""
    seeds: int = 0
    """Number of seeds that are finished."""
    questions: int = 0
    """Number of questions in the test."""
    samples: float = 0.0
    """Number of training samples, mean of the seeds."""
    mean: float | None = None
    """Official score, mean of the seeds."""
    sd: float | None = None
    """Standard deviation of the official score; None for one seed."""
    scores: tuple[float, ...] = ()
    """Official score of each seed."""
    contains: float | None = None
    """Authors' containment, mean of the seeds."""
    contains_sd: float | None = None
    """Standard deviation of the authors' containment; None for one seed."""
    beside: dict[str, float] = field(default_factory=dict)
    """Other figures by name, means of the seeds."""
    zero_shot: float | None = None
    """Official score of the same student untrained."""
    change: ScoreChange = NO_CHANGE
    """Change from the same student untrained."""
    kinds: tuple[KindChange, ...] = ()
    """Change by kind of question."""
    failed: int = 0
    """Number of questions without an answer, all seeds together."""
    train_seconds: float = 0.0
    """Duration of a training in seconds, mean of the seeds."""
    latency_s: float | None = None
    """Median latency of one answer in seconds."""
    parameters: int = 0
    """Number of the model's parameters."""
    reason: str = ""
    """Why nothing was trained; "" otherwise."""
    draw: str = TEST
    """Draw of the questions."""
    steps: float = 0.0
    """Number of optimizer steps, mean of the seeds; 0 if an earlier release trained it."""
    held_out: float | None = None
    """Share of held-out records that it answers as annotated, mean of the seeds; None without."""
    held_out_scores: tuple[float, ...] = ()
    """The same of each seed."""
    held_out_questions: int = 0
    """Number of held-out records that it was asked."""
    chosen: str = ""
    """Name of the arm's variant whose settings were chosen on the dev draw; "" if none was."""


def collect(experiment: Experiment, out: Path, evaluations: Evaluations) -> list[Row]:
    """Rows of all that is finished; an unfinished experiment has fewer rows and fewer seeds."""
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
        judged = [
            score for subject in group.subjects if (score := HeldOutScore.read(out / subject.path))
        ]
        if after or any(one.reason for one in trained):
            latency = Latency.read(out / (base or group.subjects[0]).path)
            row = _row(group, before, after, trained, latency.median_s if latency else None)
            rows.append(_with_held_out(row, judged) if len(judged) == row.seeds > 0 else row)
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
            draw=group.entry.draw,
            chosen=group.chosen,
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
        draw=group.entry.draw,
        steps=statistics.mean(found.steps for found in trained) if trained else 0.0,
        chosen=group.chosen,
    )


def _with_held_out(row: Row, judged: Sequence[HeldOutScore]) -> Row:
    questions = judged[0].questions
    if not questions:
        return row
    scores = tuple(one.score for one in judged)
    return replace(
        row,
        held_out=statistics.mean(scores),
        held_out_scores=scores,
        held_out_questions=questions,
    )


def write(rows: Sequence[Row], compared: Sequence[Versus], folder: Path, name: str) -> None:
    """Write NAME.json, NAME-versus.json, and NAME.parquet, whose `beside` and `kinds` are JSON."""
    listed = [_flat(row) for row in rows]
    write_atomically(folder / f"{name}.json", _json(listed))
    write_atomically(folder / f"{name}-versus.json", _json([_flat(one) for one in compared]))
    columns = [
        {**row, "beside": json.dumps(row["beside"]), "kinds": json.dumps(row["kinds"])}
        for row in listed
    ]
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(columns), sink, compression="zstd")
    write_atomically(folder / f"{name}.parquet", sink.getvalue().to_pybytes())


def _flat(one: Row | Versus) -> dict[str, object]:
    """The fields as one object, with those of `change` among them."""
    fields = asdict(one)
    change: dict[str, object] = fields.pop("change")
    return {**fields, **change}


def _json(listed: Sequence[dict[str, object]]) -> str:
    return json.dumps(listed, indent=1, ensure_ascii=False) + "\n"
