"""Each arm of MPA against the other arms of the same student: selection against its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from services.core.arms import Arm, SampleSource
from services.core.intervals import holm
from services.orchestrator.experiments.comparisons import Evaluations, ScoreChange, change
from services.orchestrator.experiments.experiment import Experiment
from services.orchestrator.experiments.plan import Group, groups
from services.orchestrator.experiments.variants import variants


@dataclass(frozen=True, slots=True)
class Versus:
    """A comparison of two arms: `change` from `other` to `arm`, seed by seed.

    `steps`, `other_steps`: optimizer steps of each, means of the seeds; 0 if unknown. `p_holm`:
    `p_paired` of the change, adjusted for all comparisons of the experiment (Holm).
    """

    arm: str
    other: str
    student: str
    teacher: str
    task: str
    on: str
    seeds: int
    change: ScoreChange
    steps: float = 0.0
    other_steps: float = 0.0
    p_holm: float = 1.0


def versus(
    experiment: Experiment, evaluations: Evaluations, steps: Mapping[tuple[str, ...], float]
) -> list[Versus]:
    """Compare whole arms with equal settings, the only variants of two arms, or chosen ones.

    Shares are for learning curves. `steps`: of each arm, by its group's names.
    """
    known = variants(experiment.arms)
    trained = [
        group for group in groups(experiment) if group.arm.is_trained and group.arm.share == 1.0
    ]
    found = []
    for group in trained:
        if group.arm.source is SampleSource.GAP:
            others = [other for other in trained if _is_comparable(group, other, known)]
            compared = (_compare(group, other, evaluations, steps) for other in others)
            found += [one for one in compared if one]
    return _adjusted(found)


def _adjusted(found: Sequence[Versus]) -> list[Versus]:
    """The comparisons with p_holm. Two arms against each other, both ways, are one test."""
    places = [
        (frozenset((one.arm, one.other)), one.student, one.teacher, one.task, one.on)
        for one in found
    ]
    p_values = {
        place: 1.0 if one.change.p_paired is None else one.change.p_paired
        for place, one in zip(places, found, strict=True)
    }
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [replace(one, p_holm=adjusted[place]) for place, one in zip(places, found, strict=True)]


def _compare(
    group: Group,
    other: Group,
    evaluations: Evaluations,
    steps: Mapping[tuple[str, ...], float],
) -> Versus | None:
    """The comparison over the seeds that both have finished; None if there is none."""
    before, after = [], []
    for control, subject in zip(other.subjects, group.subjects, strict=True):
        was = evaluations.find(control, group.entry)
        now = evaluations.find(subject, group.entry)
        if was and now:
            before.append(was)
            after.append(now)
    if not before:
        return None
    arm = group.names[0]
    place = group.names[1:]
    return Versus(
        arm,
        other.names[0],
        *place,
        len(before),
        change(before, after),
        steps=steps[group.names],
        other_steps=steps[other.names],
    )


def _is_comparable(group: Group, other: Group, known: Mapping[str, Sequence[Arm]]) -> bool:
    """Is it another arm in the same place? Labels have no teacher."""
    one, two = group.subjects[0], other.subjects[0]
    is_same = (one.student, one.task, group.entry.name) == (two.student, two.task, other.entry.name)
    is_same = is_same and group.arm != other.arm and two.teacher in ("", one.teacher)
    is_only = all(len(known[arm.untuned]) == 1 for arm in (group.arm, other.arm))
    return is_same and (is_only or group.arm.regimen.settings == other.arm.regimen.settings)
