"""What an experiment is: arms x students x teachers x tasks x seeds, and the tables that show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.core.arms import OF_STUDENT, Arm, SampleSource
from services.core.recipes import Recipe
from services.core.tasks import Task
from services.orchestrator.datasets.dataset import Dataset

AXES = ("student", "teacher", "task", "on", "arm")
LATENCY_QUESTIONS = 50


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Questions with answers by people, of which `limit` are taken (0: all)."""

    datasets: tuple[Dataset, ...]
    limit: int = 0


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """What the file calls a task: unlabelled images to learn from, sets to be measured on. `pool` "" : it is only measured on.

    `test_on`: the entries that are measured on after a training on this one. `labels` None: no arm trains on labels here.
    """

    name: str
    task: Task
    pool: str = ""
    limit: int = 0
    test: LabelledSet | None = None
    labels: LabelledSet | None = None
    test_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lora:
    """Of the adapters of Table 5, which the paper says nothing about."""

    rank: int = 16
    learning_rate: float = 1e-4


LORA = Lora()


@dataclass(frozen=True, slots=True)
class Layout:
    """A table: what its rows and its columns are (of AXES, the outermost first), and which table of the `paper` it repeats.

    `samples`: a column with what was trained on, before each figure. `gains`: the greatest and the mean gain of each row.
    `metrics`: the metrics of each entry, a row each, instead of the official one alone.
    """

    name: str
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    paper: str = ""
    samples: bool = False
    gains: bool = False
    metrics: bool = False


@dataclass(frozen=True, slots=True)
class Experiment:
    """`settings`: by model, what its service takes beside its preset where it is started here ("ENGINE": "vllm").

    `latency`: how many questions are asked one by one to measure it.
    """

    name: str
    title: str
    students: tuple[str, ...]
    teachers: tuple[str, ...]
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    entries: Mapping[str, TaskEntry]
    recipe: Recipe
    tables: tuple[Layout, ...]
    lora: Lora = LORA
    latency: int = LATENCY_QUESTIONS
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def trained_on(self, source: SampleSource) -> list[TaskEntry]:
        """The entries that an arm of such a source trains on."""
        if source in OF_STUDENT:
            return [entry for entry in self.entries.values() if entry.pool]
        return [
            entry
            for entry in self.entries.values()
            if entry.labels is not None and source is SampleSource.LABELS
        ]
