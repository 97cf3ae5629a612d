"""What an experiment comes to, before anything is spent: which annotations, trainings and evaluations, and which are done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.core.arms import Arm
from services.orchestrator.experiments.experiment import Experiment, TaskEntry
from services.orchestrator.images.opening import open_images
from services.orchestrator.run.run import read_run, settings_of

TRAINING, EVALUATIONS, RUNS, SERVICES = "training.json", "on", "runs", "services"


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
    """Who is measured: a student trained by an arm, or a teacher. What makes no difference to it is "" or None."""

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
    return [subject for arm in experiment.arms for subject in _of_arm(experiment, arm)]


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
                yield from (
                    MeasuredModel(arm, student, teacher, entry.name, seed)
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
    """What it is measured on: where its training says so, else everything."""
    trained_on = experiment.entries.get(subject.task)
    names = trained_on.test_on if trained_on else experiment.entries
    return [experiment.entries[name] for name in names if experiment.entries[name].test is not None]


@dataclass(frozen=True, slots=True)
class Group:
    """The subjects that differ by their seed alone, on one test."""

    entry: TaskEntry
    subjects: tuple[MeasuredModel, ...]

    @property
    def names(self) -> tuple[str, str, str, str, str]:
        """Arm, student, teacher, task, test."""
        first = self.subjects[0]
        return first.arm.name, first.student, first.teacher, first.task, self.entry.name


def groups(experiment: Experiment) -> list[Group]:
    found: dict[tuple[str, ...], list[tuple[TaskEntry, MeasuredModel]]] = defaultdict(list)
    for subject in subjects(experiment):
        for entry in measured_on(experiment, subject):
            found[
                subject.arm.name, subject.student, subject.teacher, subject.task, entry.name
            ].append((entry, subject))
    return [Group(of[0][0], tuple(subject for _, subject in of)) for of in found.values()]


def evaluation_folder(out: Path, subject: MeasuredModel, entry: TaskEntry) -> Path:
    return out / subject.path / EVALUATIONS / entry.name


@dataclass(frozen=True, slots=True)
class PlannedWork:
    """What is to be done, how much of it, and how much of that is done. `images` and `questions` bound the calls of models."""

    what: str
    number: int
    done: int
    detail: str


def lines(experiment: Experiment, out: Path) -> list[PlannedWork]:
    """The whole plan, for people."""
    runs, all_subjects = pairs(experiment), subjects(experiment)
    trainings = [subject for subject in all_subjects if subject.arm.is_trained]
    evaluations = [
        (subject, entry) for subject in all_subjects for entry in measured_on(experiment, subject)
    ]
    return [
        PlannedWork(
            "runs (annotate, identify)",
            len(runs),
            sum(_is_identified(out / run.path) for run in runs),
            _calls(experiment, runs),
        ),
        PlannedWork(
            "trainings",
            len(trainings),
            sum((out / subject.path / TRAINING).is_file() for subject in trainings),
            f"{len(experiment.seeds)} seeds; each leaves a version of its student in the store",
        ),
        PlannedWork(
            "evaluations",
            len(evaluations),
            sum(
                (evaluation_folder(out, *evaluation) / "figures.json").is_file()
                for evaluation in evaluations
            ),
            _questions(experiment),
        ),
    ]


def _is_identified(folder: Path) -> bool:
    if settings_of(folder) is None:
        return False
    with read_run(folder) as run:
        return bool(run.state.identified)


def _calls(experiment: Experiment, runs: list[Pair]) -> str:
    """The bill is the teachers', and a second student finds its annotations in the cache."""
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
    return "; ".join(
        [*said, "a teacher answers again only where a student was wrong"] if said else said
    )


def _questions(experiment: Experiment) -> str:
    said = []
    for entry in experiment.entries.values():
        if entry.test is not None:
            count = sum(
                min(entry.test.limit or read, read)
                for read in (sum(1 for _ in dataset.read()) for dataset in entry.test.datasets)
            )
            said.append(f"{entry.name}: {count:,} questions")
    return "; ".join(said)
