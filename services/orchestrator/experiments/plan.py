"""The plan of an experiment before anything is spent: runs, trainings, evaluations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from services.core.arms import Arm
from services.orchestrator.experiments.experiment import TEST, Experiment, TaskEntry
from services.orchestrator.images.opening import open_images
from services.orchestrator.run.run import read_run, settings_of

TRAINING = "training.json"
EVALUATIONS = "on"
RUNS = "runs"
SERVICES = "services"


@dataclass(frozen=True, slots=True)
class Pair:
    """A run: a teacher annotates the pool of a task, and a student is asked."""

    student: str
    teacher: str
    task: str

    @property
    def path(self) -> Path:
        return Path(RUNS, self.student, self.teacher, self.task)


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """A model to measure: a student trained by an arm, or a teacher.

    Fields that make no difference to it are "" or None.
    """

    arm: Arm
    student: str = ""
    teacher: str = ""
    task: str = ""
    seed: int | None = None

    @property
    def path(self) -> Path:
        seed = "" if self.seed is None else f"seed{self.seed}"
        return Path(
            "arms", *filter(None, (self.arm.name, self.student, self.teacher, self.task, seed))
        )

    @property
    def pair(self) -> Pair:
        return Pair(self.student, self.teacher, self.task)

    def __str__(self) -> str:
        return " ".join(self.path.parts[1:])


def subjects(experiment: Experiment) -> list[MeasuredModel]:
    """All models, each once: the settings chosen for an arm may be those of another."""
    found = (subject for arm in experiment.arms for subject in _of_arm(experiment, arm))
    return list(dict.fromkeys(found))


def _of_arm(experiment: Experiment, arm: Arm) -> Iterator[MeasuredModel]:
    if arm.is_teacher:
        yield from (MeasuredModel(arm, teacher=teacher) for teacher in experiment.teachers)
        return
    for student in experiment.students:
        if not arm.is_trained:
            yield MeasuredModel(arm, student)
            continue
        for teacher in experiment.teachers if arm.needs_teacher else ("",):
            for entry in experiment.trained_on(arm.source):
                settled = experiment.settled(arm, student, teacher, entry.name)
                yield from (
                    MeasuredModel(settled, student, teacher, entry.name, seed)
                    for seed in experiment.seeds
                )


def pairs(experiment: Experiment) -> list[Pair]:
    """The runs that the arms take their samples from."""
    needed = (
        subject.pair
        for subject in subjects(experiment)
        if subject.arm.needs_teacher and subject.arm.is_trained
    )
    return list(dict.fromkeys(needed))


def measured_on(experiment: Experiment, subject: MeasuredModel) -> list[TaskEntry]:
    """The entries that a subject is measured on: those of its training's `test_on`, else all."""
    trained_on = experiment.entries.get(subject.task)
    names = trained_on.test_on if trained_on else experiment.entries
    return [experiment.entries[name] for name in names if experiment.entries[name].test is not None]


@dataclass(frozen=True, slots=True)
class Group:
    """The subjects that differ by their seed alone, on one test.

    `arm`: as the file names it. `is_chosen`: are its settings chosen ones?
    """

    arm: Arm
    entry: TaskEntry
    subjects: tuple[MeasuredModel, ...]
    is_chosen: bool

    @property
    def names(self) -> tuple[str, str, str, str, str]:
        """Arm, student, teacher, task, test."""
        one = self.subjects[0]
        return self.arm.name, one.student, one.teacher, one.task, self.entry.name

    @property
    def chosen(self) -> str:
        """Name of the variant that was chosen for the arm; "" if none was."""
        return self.subjects[0].arm.name if self.is_chosen else ""


def groups(experiment: Experiment) -> list[Group]:
    return [group for arm in experiment.arms for group in _groups_of_arm(experiment, arm)]


def _groups_of_arm(experiment: Experiment, arm: Arm) -> Iterator[Group]:
    found: dict[tuple[str, ...], list[tuple[TaskEntry, MeasuredModel]]] = defaultdict(list)
    for subject in _of_arm(experiment, arm):
        for entry in measured_on(experiment, subject):
            place = (subject.student, subject.teacher, subject.task, entry.name)
            found[place].append((entry, subject))
    for of in found.values():
        everybody = tuple(subject for _, subject in of)
        yield Group(arm, of[0][0], everybody, experiment.is_chosen(arm))


def evaluation_folder(out: Path, subject: MeasuredModel, entry: TaskEntry) -> Path:
    """The folder of the answers: each draw has its own."""
    name = entry.name if entry.draw == TEST else f"{entry.name}@{entry.draw}"
    return out / subject.path / EVALUATIONS / name


@dataclass(frozen=True, slots=True)
class PlannedWork:
    """One line of the plan: a kind of work, its number, the number done, and details."""

    what: str
    number: int
    done: int
    detail: str


def lines(experiment: Experiment, out: Path) -> list[PlannedWork]:
    """The whole plan, for people."""
    runs = pairs(experiment)
    all_subjects = subjects(experiment)
    trainings = [subject for subject in all_subjects if subject.arm.is_trained]
    evaluations = [
        evaluation_folder(out, subject, entry)
        for subject in all_subjects
        for entry in measured_on(experiment, subject)
    ]
    return [
        PlannedWork(
            what="runs (annotate, identify)",
            number=len(runs),
            done=sum(_is_identified(out / run.path) for run in runs),
            detail=_calls(experiment, runs),
        ),
        PlannedWork(
            what="trainings",
            number=len(trainings),
            done=sum((out / subject.path / TRAINING).is_file() for subject in trainings),
            detail=f"{len(experiment.seeds)} seeds; "
            "each leaves a version of its student in the store, which is never promoted",
        ),
        PlannedWork(
            what="evaluations",
            number=len(evaluations),
            done=sum((folder / "figures.json").is_file() for folder in evaluations),
            detail=_questions(experiment),
        ),
    ]


def _is_identified(folder: Path) -> bool:
    if settings_of(folder) is None:
        return False
    with read_run(folder) as run:
        return bool(run.state.identified)


def _calls(experiment: Experiment, runs: list[Pair]) -> str:
    """The calls of teachers, which cost most; a second student's annotations are in the cache."""
    said = []
    for task in dict.fromkeys(run.task for run in runs):
        entry = experiment.entries[task]
        per_image = experiment.recipe.of_task(entry.task).questions_per_image
        total = open_images(entry.pool).total()
        count = min(filter(None, (total, entry.limit)), default=None)
        if count is None:
            said.append(f"{task}: as many as {entry.pool} holds")
            continue
        teachers = len({run.teacher for run in runs if run.task == task})
        said.append(
            f"{task}: {count:,} images, {count * per_image * teachers:,} annotations in all"
        )
    if said:
        said.append("a teacher answers again only if a student was wrong")
    return "; ".join(said)


def _questions(experiment: Experiment) -> str:
    said = []
    for entry in experiment.entries.values():
        if entry.test is not None:
            limit = entry.test.limit or None
            count = sum(1 for each in entry.test.datasets for _ in islice(each.read(), limit))
            said.append(f"{entry.name}: {count:,} questions")
    return "; ".join(said)
