"""Each arm of MPA against the other arms, from the same student: what tells selection from its controls."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.arms import SampleSource
from services.orchestrator.experiments.comparisons import Evaluations, ScoreChange, change
from services.orchestrator.experiments.experiment import Experiment
from services.orchestrator.experiments.plan import Group, groups


@dataclass(frozen=True, slots=True)
class Versus:
    """`change` from `other` to `arm`, seed by seed."""

    arm: str
    other: str
    student: str
    teacher: str
    task: str
    on: str
    seeds: int
    change: ScoreChange


def versus(experiment: Experiment, evaluations: Evaluations) -> list[Versus]:
    """Whole arms alone: shares are a curve's."""
    trained = [
        group
        for group in groups(experiment)
        if group.subjects[0].arm.is_trained and group.subjects[0].arm.share == 1.0
    ]
    found = []
    for group in trained:
        first = group.subjects[0]
        others = (
            []
            if first.arm.source is not SampleSource.GAP
            else [other for other in trained if _is_beside(group, other)]
        )
        for other in others:
            pairs = [
                (was, now)
                for a, b in zip(other.subjects, group.subjects, strict=True)
                if (was := evaluations.find(a, group.entry))
                and (now := evaluations.find(b, group.entry))
            ]
            if pairs:
                compared = change([was for was, _ in pairs], [now for _, now in pairs])
                found.append(
                    Versus(first.arm.name, other.names[0], *group.names[1:], len(pairs), compared)
                )
    return found


def _is_beside(group: Group, other: Group) -> bool:
    """Another arm in the same place; labels are of no teacher."""
    one, two = group.subjects[0], other.subjects[0]
    is_same = (one.student, one.task, group.entry.name) == (two.student, two.task, other.entry.name)
    return is_same and one.arm != two.arm and two.teacher in ("", one.teacher)
