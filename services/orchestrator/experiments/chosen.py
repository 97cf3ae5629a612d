"""Choice of each arm's settings on the dev draw: the variant with the best mean of its tasks."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from services.core.arms import parse_arm
from services.orchestrator.experiments.experiment import DEV, Experiment
from services.orchestrator.experiments.results import Row


@dataclass(frozen=True, slots=True)
class ChosenArm:
    """The best of an arm's variants. `score`: mean of its tasks, each measured on itself."""

    arm: str
    student: str
    teacher: str
    chosen: str
    score: float
    variants: int
    seeds: int


def choose_settings(experiment: Experiment, rows: Sequence[Row]) -> list[ChosenArm]:
    """The choices of an experiment on the dev draw; none on the test draw.

    Variants count once they are measured on as many tasks as the others. Of equal ones the first in
    the file is chosen.
    """
    measured: dict[tuple[str, str, str], dict[str, list[Row]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in rows if experiment.draw == DEV else ():
        if row.mean is not None and row.task == row.on:
            place = (parse_arm(row.arm).untuned, row.student, row.teacher)
            measured[place][row.arm].append(row)
    return [_choose(place, of) for place, of in measured.items() if len(of) > 1]


def _choose(place: tuple[str, str, str], measured: dict[str, list[Row]]) -> ChosenArm:
    tasks = max(map(len, measured.values()))
    scores = {
        arm: statistics.fmean(row.mean or 0.0 for row in rows)
        for arm, rows in measured.items()
        if len(rows) == tasks
    }
    best = max(scores, key=scores.__getitem__)
    seeds = min(row.seeds for row in measured[best])
    arm, student, teacher = place
    return ChosenArm(arm, student, teacher, best, scores[best], len(scores), seeds)
