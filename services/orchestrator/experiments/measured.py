"""Evaluations of all models by the official metrics, and the latency of single answers."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

from services.core.decoding import Decoding
from services.files import write_atomically
from services.orchestrator.endpoints import connect
from services.orchestrator.endpoints.where import Where
from services.orchestrator.experiments.experiment import Experiment, TaskEntry
from services.orchestrator.experiments.identified import settle_base
from services.orchestrator.experiments.judged import is_unjudged, judge
from services.orchestrator.experiments.plan import MeasuredModel, evaluation_folder, measured_on
from services.orchestrator.experiments.trained import TrainedArm
from services.orchestrator.experiments.uses import DrawUses
from services.orchestrator.run.progress import Progress
from services.orchestrator.scoring import conditions, evaluation
from services.orchestrator.scoring.asking import picture_of
from services.orchestrator.scoring.conditions import ScoredEvaluation
from services.orchestrator.scoring.respondents import Respondent, RespondentChoice, respondent
from services.rpc.client import Picture

LATENCY = "latency.json"
WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of single answers through the service: the median of `questions` asked one by one."""

    median_s: float
    questions: int

    @staticmethod
    def read(folder: Path) -> Latency | None:
        path = folder / LATENCY
        return Latency(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


@dataclass(frozen=True, slots=True)
class Due:
    """An evaluation of one subject to do."""

    entry: TaskEntry
    planned: ScoredEvaluation
    folder: Path


def plan_tests(experiment: Experiment) -> dict[str, ScoredEvaluation]:
    """The evaluation of each entry; its files are checked once. Raises InvalidInput."""
    return {
        name: conditions.plan(
            entry.test.datasets,
            entry.task.name,
            "",
            metric="",
            template="",
            limit=entry.test.limit,
            pool="",
            force=False,
        )
        for name, entry in experiment.entries.items()
        if entry.test is not None
    }


def is_due(
    experiment: Experiment,
    subject: MeasuredModel,
    planned: Mapping[str, ScoredEvaluation],
    out: Path,
) -> bool:
    """Is a subject to be evaluated or timed? Raises WrongState if a test has changed since."""
    return (
        bool(_due(experiment, subject, planned, out))
        or is_unjudged(experiment, subject, out)
        or _is_untimed(experiment, subject, out)
    )


async def measure(
    experiment: Experiment,
    subject: MeasuredModel,
    planned: Mapping[str, ScoredEvaluation],
    uses: DrawUses,
    where: Where,
    out: Path,
    progress: Progress,
) -> None:
    """Evaluate and time one subject, whose model is up."""
    base = ""
    if subject.student:
        async with connect.student_only(where, out, progress) as client:
            base = (await settle_base(subject.student, client, out)).version
    asked = _asked(subject, where, base, out)
    for one in _due(experiment, subject, planned, out):
        progress.note(f"evaluate {subject} on {one.entry.name}")
        assert one.entry.test is not None
        uses.record(subject, one.entry)
        datasets = one.entry.test.datasets
        await evaluation.evaluate(one.planned, datasets, asked, one.folder, progress)
    if is_unjudged(experiment, subject, out):
        progress.note(f"held-out records: {subject}")
        await judge(subject, asked, out, progress)
    if _is_untimed(experiment, subject, out):
        await _time(experiment, subject, asked, out, progress)


def _due(
    experiment: Experiment,
    subject: MeasuredModel,
    planned: Mapping[str, ScoredEvaluation],
    out: Path,
) -> list[Due]:
    trained = TrainedArm.read(out / subject.path)
    if trained is not None and trained.reason:
        return []
    found = []
    for entry in measured_on(experiment, subject):
        folder = evaluation_folder(out, subject, entry)
        asked = replace(planned[entry.name], asked=str(subject))
        if not evaluation.is_finished(asked, folder):
            found.append(Due(entry, asked, folder))
    return found


def _asked(subject: MeasuredModel, where: Where, base: str, out: Path) -> RespondentChoice:
    if subject.arm.is_teacher:
        return RespondentChoice(where, "teacher")
    trained = TrainedArm.read(out / subject.path)
    if trained is None:
        return RespondentChoice(where, "student", base)
    return RespondentChoice(
        where, "student", trained.version, weights_sha256=trained.weights_sha256
    )


def _is_untimed(experiment: Experiment, subject: MeasuredModel, out: Path) -> bool:
    is_of_interest = experiment.latency > 0 and not subject.arm.is_trained
    return is_of_interest and Latency.read(out / subject.path) is None


async def _time(
    experiment: Experiment,
    subject: MeasuredModel,
    asked: RespondentChoice,
    out: Path,
    progress: Progress,
) -> None:
    """Time the subject on its first test.

    Training changes weights and not latency, so a student is timed once.
    """
    entry = measured_on(experiment, subject)[0]
    uncached = replace(asked, where=replace(asked.where, cache=None))
    async with respondent(uncached, progress) as model:
        seconds = await _seconds(model, entry, experiment.latency)
    if seconds:
        found = Latency(statistics.median(seconds), len(seconds))
        write_atomically(out / subject.path / LATENCY, json.dumps(asdict(found)) + "\n")
        progress.note(
            f"latency: {subject}: {found.median_s * 1000:.0f} ms, median of {found.questions}"
        )


async def _seconds(model: Respondent, entry: TaskEntry, questions: int) -> list[float]:
    """Seconds of each answer. Images were sent before, so the network is hardly measured."""
    assert entry.test is not None
    dataset = entry.test.datasets[0]
    template = entry.task.answer_template
    decoding = Decoding(max_new_tokens=entry.task.max_new_tokens)
    asked = []
    for record in islice(dataset.read(), questions):
        picture = await asyncio.to_thread(picture_of, dataset, record, model.pixel_budget)
        if isinstance(picture, Picture):
            asked.append((picture, record.question))

    async def ask(picture: Picture, question: str) -> float:
        began = time.perf_counter()
        await model.answer(picture, question, template, decoding)
        return time.perf_counter() - began

    for picture, question in asked[:WARM_UP]:
        await ask(picture, question)
    return [await ask(picture, question) for picture, question in asked]
