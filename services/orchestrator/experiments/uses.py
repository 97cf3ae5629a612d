"""Use of the test draw: recorded in the results folder, and refused for a choice of settings."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from services.core.arm_parts import in_words
from services.core.arms import parse_arm
from services.core.errors import WrongState
from services.files import write_atomically
from services.orchestrator.experiments.experiment import TEST, Experiment, TaskEntry
from services.orchestrator.experiments.plan import Group, MeasuredModel, groups

RECORD = "test-draw.json"


@dataclass(frozen=True, slots=True)
class DrawUse:
    """A measurement on the test draw, of all seeds.

    `arm`: as the file names it. `settled`: its name with its settings. `when`: time of the first
    question, UTC.
    """

    arm: str
    settled: str
    student: str
    teacher: str
    task: str
    on: str
    experiment: str
    claim: str
    when: str = ""

    @property
    def place(self) -> tuple[str | bool, ...]:
        """Measurements with equal places have equal settings, or they would choose among them.

        An arm has two places: with settings in its name, and without.
        """
        arm = parse_arm(self.arm)
        is_named = arm.untuned != arm.name
        models = (self.student, self.teacher, self.task, self.on)
        return (arm.untuned, is_named, *models, self.claim)

    @property
    def settings(self) -> tuple[int, float | None, float | None]:
        return parse_arm(self.settled).regimen.settings


def read_uses(out: Path) -> list[DrawUse]:
    path = out / RECORD
    if not path.is_file():
        return []
    return [DrawUse(**one) for one in json.loads(path.read_text(encoding="utf-8"))]


class DrawUses:
    """The uses of an experiment; none on the dev draw."""

    def __init__(self, experiment: Experiment, out: Path) -> None:
        self._out = out
        self._planned: dict[tuple[MeasuredModel, str], list[DrawUse]] = defaultdict(list)
        for group in groups(experiment) if experiment.draw == TEST else ():
            use = _use(experiment, group)
            for subject in group.subjects:
                self._planned[subject, group.entry.name].append(use)

    def require_no_choice(self) -> None:
        """Raises WrongState: other settings were measured for the same claim."""
        known = {use.place: use for use in read_uses(self._out)}
        for use in (use for uses in self._planned.values() for use in uses):
            found = known.get(use.place)
            if found is not None and found.settings != use.settings:
                where = ", ".join(filter(None, (use.student, use.teacher, use.task)))
                raise WrongState(
                    f"{found.arm} ({where}) was measured on the test draw of {use.on} with "
                    f"{in_words(found.settled)} ({found.when}, {found.experiment}.toml), and now "
                    f"it would be with {in_words(use.settled)}. Settings are chosen on the dev "
                    'draw. If this is another claim, state it in the file: claim = "..."'
                )

    def record(self, subject: MeasuredModel, entry: TaskEntry) -> None:
        """Record the use, once for all seeds. Call it before the first question is asked."""
        planned = self._planned.get((subject, entry.name), ())
        known = read_uses(self._out) if planned else []
        found = {(use.place, use.settings) for use in known}
        new = [
            replace(use, when=datetime.now(UTC).isoformat(timespec="seconds"))
            for use in planned
            if (use.place, use.settings) not in found
        ]
        if new:
            listed = [asdict(use) for use in (*known, *new)]
            write_atomically(self._out / RECORD, json.dumps(listed, indent=1) + "\n")


def _use(experiment: Experiment, group: Group) -> DrawUse:
    return DrawUse(
        group.arm.name,
        group.subjects[0].arm.name,
        *group.names[1:],
        experiment=experiment.name,
        claim=experiment.claim,
    )


def group_by_claim(uses: Sequence[DrawUse]) -> dict[tuple[str, str], list[DrawUse]]:
    """Uses by claim and experiment."""
    found: dict[tuple[str, str], list[DrawUse]] = defaultdict(list)
    for use in uses:
        found[use.claim, use.experiment].append(use)
    return found
