"""Choices of settings, in a file: an experiment on the dev draw writes it, one on test reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from services.core.arms import Arm, parse_arm
from services.core.errors import InvalidInput
from services.files import write_atomically
from services.orchestrator.datasets.fields import Fields, objects

SUFFIX = "-chosen"


@dataclass(frozen=True, slots=True)
class ChosenArm:
    """The best of an arm's variants for one student, teacher and task.

    `chosen`: name of the variant. `score`: its mean over the seeds, on the dev draw of that task;
    None if nothing can be trained. `by_held_out`: the variant that held-out records choose, "" if
    nothing is held out; `regret`: score of `chosen` minus that of `by_held_out`;
    `seed_regret`: the same if the records choose by the trainings of one seed, mean of the seeds;
    `rank_correlation`: Spearman's, of both scores over the variants.
    """

    arm: str
    student: str
    teacher: str
    task: str
    chosen: str
    score: float | None
    variants: int
    seeds: int
    by_held_out: str = ""
    regret: float | None = None
    seed_regret: float | None = None
    rank_correlation: float | None = None

    @property
    def place(self) -> tuple[str, str, str, str]:
        return self.arm, self.student, self.teacher, self.task


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices of one or several files. `name`: experiment that made those of the first."""

    name: str
    chosen: Mapping[tuple[str, str, str, str], ChosenArm]

    def settled(self, arm: Arm, student: str, teacher: str, task: str) -> Arm:
        """The arm with its chosen settings. Raises InvalidInput if there is no choice."""
        found = self.chosen.get((arm.name, student, teacher, task))
        if found is None:
            where = ", ".join(filter(None, (student, teacher, task)))
            raise InvalidInput(
                f'"chosen" has no settings of the arm {arm.name} for {where}: list variants of it '
                f'in {self.name}.toml, with draw = "dev", and repeat '
                f"`mpa-orch experiment {self.name}.toml`; or state its settings in its name",
                field="chosen",
            )
        return parse_arm(found.chosen)


def write_choices(found: Sequence[ChosenArm], folder: Path, name: str) -> None:
    listed = [asdict(one) for one in found]
    write_atomically(folder / f"{name}{SUFFIX}.json", json.dumps(listed, indent=1) + "\n")


def read_choices(top: Fields, data: Path) -> Choices | None:
    """The files that the key `chosen` names; None without the key. The first that has a place wins.

    Raises InvalidInput that names the key.
    """
    if "chosen" not in top.values:
        return None
    named = top.texts("chosen")
    found: dict[tuple[str, str, str, str], ChosenArm] = {}
    for file in named:
        found = {**_read(top, file, data), **found}
    return Choices(_name(named[0]), found)


def _name(file: str) -> str:
    return Path(file).stem.removesuffix(SUFFIX)


def _read(top: Fields, file: str, data: Path) -> dict[tuple[str, str, str, str], ChosenArm]:
    path = data / file
    name = _name(file)
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise top.fault(
            "chosen",
            f"names {file!r}, and {path} can't be read ({error.strerror}): "
            f"`mpa-orch experiment {name}.toml` writes it on the dev draw, into its --out; "
            "relative paths start from --data",
        ) from error
    except ValueError as error:
        raise top.fault("chosen", f"names {path}, which is no JSON: {error}") from error
    if not isinstance(listed, list):
        raise top.fault("chosen", f"names {path}, which holds no list of choices")
    return _by_place(objects(listed, path.name), name)


def _by_place(listed: Iterable[Fields], name: str) -> dict[tuple[str, str, str, str], ChosenArm]:
    found = {}
    for fields in listed:
        if "task" not in fields.values:
            raise fields.fault(
                "task",
                "is missing: an earlier release chose for all tasks together; "
                f"repeat `mpa-orch experiment {name}.toml`",
            )
        one = ChosenArm(
            arm=fields.text("arm"),
            student=fields.text("student"),
            teacher=str(fields.values.get("teacher", "")),
            task=fields.text("task"),
            chosen=fields.text("chosen"),
            score=None if fields.values.get("score") is None else fields.real("score"),
            variants=fields.number("variants"),
            seeds=fields.number("seeds"),
        )
        if parse_arm(one.chosen).untuned != one.arm:
            raise fields.fault("chosen", f"is {one.chosen!r}, which is no variant of {one.arm}")
        found[one.place] = one
    return found
