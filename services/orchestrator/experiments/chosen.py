"""Choice of each arm's settings on the dev draw, for each task on its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean

from services.core.arms import parse_arm
from services.core.intervals import spearman
from services.orchestrator.experiments.choices import ChosenArm
from services.orchestrator.experiments.experiment import DEV, Experiment
from services.orchestrator.experiments.results import Row
from services.orchestrator.experiments.variants import variants


def choose_settings(experiment: Experiment, rows: Sequence[Row]) -> list[ChosenArm]:
    """The choices of an experiment on the dev draw; none on the test draw.

    A task is measured on itself. There is no choice before all variants of an arm are measured with
    all seeds. Of equal ones the first in the file is chosen.
    """
    known = variants(experiment.arms)
    measured: dict[tuple[str, str, str, str], list[Row]] = defaultdict(list)
    for row in rows if experiment.draw == DEV else ():
        if row.task == row.on and _is_complete(experiment, row):
            place = (parse_arm(row.arm).untuned, row.student, row.teacher, row.task)
            measured[place].append(row)
    return [
        _choose(place, of) for place, of in measured.items() if len(of) == len(known[place[0]]) > 1
    ]


def _is_complete(experiment: Experiment, row: Row) -> bool:
    return bool(row.reason) or row.seeds == len(experiment.seeds)


def _choose(place: tuple[str, str, str, str], measured: Sequence[Row]) -> ChosenArm:
    best = max(measured, key=lambda row: row.mean or 0.0)
    found = ChosenArm(*place, best.arm, best.mean, len(measured), best.seeds)
    held_out = [row.held_out for row in measured if row.held_out is not None]
    scores = [row.mean for row in measured if row.mean is not None]
    if best.mean is None or len(held_out) < len(measured):
        return found
    other = measured[held_out.index(max(held_out))]
    return replace(
        found,
        by_held_out=other.arm,
        regret=best.mean - (other.mean or 0.0),
        seed_regret=best.mean - fmean(_means_of_single_seeds(measured, best.seeds)),
        rank_correlation=spearman(held_out, scores),
    )


def _means_of_single_seeds(measured: Sequence[Row], seeds: int) -> Iterator[float]:
    """Mean dev score of the variant that held-out records choose, for each seed on its own."""
    for seed in range(seeds):
        held_out = [row.held_out_scores[seed] for row in measured]
        yield measured[held_out.index(max(held_out))].mean or 0.0


def ranks_by_held_out(rows: Sequence[Row]) -> dict[tuple[str, str, str], tuple[float, int]]:
    """Spearman's correlation of held-out and dev scores over all arms, and their number.

    By student, teacher and task.
    """
    places: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row.task == row.on and row.held_out is not None and row.mean is not None:
            places[row.student, row.teacher, row.task].append((row.held_out, row.mean))
    found = {}
    for place, scores in places.items():
        correlation = spearman([one for one, _ in scores], [other for _, other in scores])
        if correlation is not None:
            found[place] = (correlation, len(scores))
    return found


def applied(experiment: Experiment, rows: Sequence[Row]) -> list[ChosenArm]:
    """The choices that the rows' models were trained with; none on the dev draw."""
    places = dict.fromkeys(
        (row.arm, row.student, row.teacher, row.task) for row in rows if row.chosen
    )
    return [experiment.choices.chosen[place] for place in places] if experiment.choices else []
