"""An experiment: arms x students x teachers x tasks x seeds, and the tables that show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.core.arms import OF_STUDENT, Arm, SampleSource
from services.core.recipes import Recipe
from services.core.tasks import Task
from services.orchestrator.datasets.dataset import Dataset
from services.orchestrator.experiments.choices import Choices

AXES = ("student", "teacher", "task", "on", "arm")
LATENCY_QUESTIONS = 50
DEV = "dev"
TEST = "test"
DRAWS = (DEV, TEST)
"""Draws of questions: settings are chosen on the first, and judged on the second."""


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Questions with answers by people; the first `limit` are taken (0: all)."""

    datasets: tuple[Dataset, ...]
    limit: int = 0


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """A task of the file: unlabeled images to learn from, and sets to be measured on.

    `pool`: "" if the task only measures; `pool_name`: as the file names it. `test`: the questions
    of `draw`. `test_on`: entries to measure on after a training on this one. `labels`: None if no
    arm trains on labels here. `unseen`: the questions of all draws, whose images nothing trains on.
    `anchor_questions`: questions of anchors; none: general ones.
    """

    name: str
    task: Task
    pool: str = ""
    pool_name: str = ""
    limit: int = 0
    test: LabelledSet | None = None
    labels: LabelledSet | None = None
    test_on: tuple[str, ...] = ()
    draw: str = TEST
    unseen: tuple[LabelledSet, ...] = ()
    anchor_questions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lora:
    """Settings of the adapters of Table 5, which the paper doesn't give."""

    rank: int = 16
    learning_rate: float = 1e-4


LORA = Lora()


@dataclass(frozen=True, slots=True)
class Layout:
    """A table: the axes of its rows and columns (of AXES, the outermost first).

    `paper`: the table of the paper that it repeats. `samples`, `steps`: add the number of training
    samples, and of optimizer steps, before each figure. `gains`: adds the greatest and the mean
    gain of each row. `metrics`: a row for each metric of an entry instead of the official one
    alone.
    """

    name: str
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    paper: str = ""
    samples: bool = False
    gains: bool = False
    metrics: bool = False
    steps: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """Titles of the columns of one figure."""
        return (*["samples"] * self.samples, *["steps"] * self.steps, "score")


@dataclass(frozen=True, slots=True)
class Experiment:
    """All that an experiment's file sets."""

    name: str
    """Name of the file, without its suffix."""
    title: str
    """Heading of the report."""
    students: tuple[str, ...]
    """Presets of the students."""
    teachers: tuple[str, ...]
    """Presets of the teachers."""
    arms: tuple[Arm, ...]
    """Ways to train that are compared."""
    seeds: tuple[int, ...]
    """Seeds of the trainings; each arm is trained once per seed."""
    entries: Mapping[str, TaskEntry]
    """Tasks by name."""
    recipe: Recipe
    """Recipe of every run."""
    tables: tuple[Layout, ...]
    """Tables of the report."""
    lora: Lora = LORA
    """Settings of arms that train adapters."""
    latency: int = LATENCY_QUESTIONS
    """Number of questions asked one by one to measure latency; 0 measures none."""
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Settings by model for a service that is started here, such as {"ENGINE": "vllm"}."""
    max_pixels: int = 0
    """Most pixels of the images that models annotate, answer and train on.

    0: those of the image processor of each student's preset.
    """
    claim: str = ""
    """Claim that the test draw is used for; "" if none is stated."""
    choices: Choices | None = None
    """Settings of arms whose names state none; None: those of the student's preset."""

    @property
    def draw(self) -> str:
        """The draw that all tasks are measured on."""
        return next((entry.draw for entry in self.entries.values()), TEST)

    def is_chosen(self, arm: Arm) -> bool:
        """Are the arm's settings chosen ones? An arm whose name states settings keeps them."""
        return self.choices is not None and arm.is_trained and arm.untuned == arm.name

    def settled(self, arm: Arm, student: str, teacher: str, task: str) -> Arm:
        """The arm with its settings for a task. Raises InvalidInput if a choice is missing."""
        if self.choices is None or not self.is_chosen(arm):
            return arm
        return self.choices.settled(arm, student, teacher, task)

    def trained_on(self, source: SampleSource) -> list[TaskEntry]:
        """The entries that an arm with this source of samples trains on."""
        if source in OF_STUDENT:
            return [entry for entry in self.entries.values() if entry.pool]
        return [
            entry
            for entry in self.entries.values()
            if entry.labels is not None and source is SampleSource.LABELS
        ]
