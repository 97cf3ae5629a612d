"""The trainings of an experiment: a version of the student per arm, teacher, task and seed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

from protos.mpa.v1 import training_pb2
from services.core.arms import SampleSource, epochs_of
from services.core.errors import WrongState
from services.core.pixels import PixelBudget
from services.core.presets import PRESETS
from services.files import write_atomically
from services.orchestrator.endpoints import connect
from services.orchestrator.endpoints.where import Where
from services.orchestrator.experiments.experiment import Experiment
from services.orchestrator.experiments.identified import (
    Base,
    settings_of,
    settle_base,
    settle_budget,
)
from services.orchestrator.experiments.plan import TRAINING, MeasuredModel, measured_on
from services.orchestrator.experiments.repaired import ask_again
from services.orchestrator.experiments.samples import TrainingSamples, of_labels, of_run
from services.orchestrator.run.ledger.opinions import Label
from services.orchestrator.run.progress import Progress
from services.orchestrator.scoring.respondents import RespondentChoice
from services.orchestrator.steps.anchoring import needs_new_service, require_new_service
from services.orchestrator.steps.following import await_earlier, train
from services.orchestrator.steps.leveling import hyperparameters, parts, train_repaired
from services.rpc.client import Student, StudentVersion
from services.rpc.wire import contract_to_proto


@dataclass(frozen=True, slots=True)
class TrainedArm:
    """The outcome of a training: a version, or the `reason` why there was none.

    `conditions`: a hash of all settings that decided it. `samples`: number of different ones.
    `steps`: number of the optimizer's steps from the base; 0 if an earlier release trained it. The
    `seconds` include trainings that were repaired.
    """

    conditions: str
    samples: int = 0
    version: str = ""
    weights_sha256: str = ""
    seconds: float = 0.0
    reason: str = ""
    steps: int = 0

    @staticmethod
    def read(folder: Path) -> TrainedArm | None:
        """The stored outcome; None if the training isn't done."""
        path = folder / TRAINING
        if not path.is_file():
            return None
        return TrainedArm(**json.loads(path.read_text(encoding="utf-8")))

    def write(self, folder: Path) -> None:
        write_atomically(folder / TRAINING, json.dumps(asdict(self), indent=2) + "\n")


def due_trainings(
    experiment: Experiment, subjects: Iterable[MeasuredModel], out: Path
) -> list[MeasuredModel]:
    """The trainings that are left. Raises WrongState if the experiment's file has changed since."""
    trained = [subject for subject in subjects if subject.arm.is_trained]
    if not trained:
        return []
    budget = settle_budget(experiment, trained[0].student, out)
    return [subject for subject in trained if not _is_done(experiment, subject, budget, out)]


async def train_all(
    experiment: Experiment,
    due: Sequence[MeasuredModel],
    where: Where,
    out: Path,
    progress: Progress,
    asking: asyncio.Lock,
) -> AsyncIterator[MeasuredModel]:
    """Do the trainings of one student, which is up; yield each subject when it is trained.

    `asking` is held while a trained version answers: the service has room for one at a time.
    """
    if not due:
        return
    budget = settle_budget(experiment, due[0].student, out)
    async with connect.student_only(where, out, progress) as student:
        base = await settle_base(due[0].student, student, out)
        await await_earlier(student, progress)
        work = _Trainings(experiment, base, budget, student, where, asking, out, progress)
        for number, subject in enumerate(due):
            progress.note(f"train {number + 1} of {len(due)}: {subject}")
            await work.on(subject)
            yield subject


def _is_done(
    experiment: Experiment, subject: MeasuredModel, budget: PixelBudget, out: Path
) -> bool:
    trained = TrainedArm.read(out / subject.path)
    known = [conditions(experiment, subject, budget, by_name=by_name) for by_name in (True, False)]
    if trained is not None and trained.conditions not in known:
        raise WrongState(
            f"{out / subject.path} was trained under other settings (its pool, labels, recipe or "
            "adapters have changed): give another --out"
        )
    return trained is not None


@dataclass(frozen=True, slots=True)
class _Trainings:
    """Trainings of one student from one base."""

    experiment: Experiment
    base: Base
    budget: PixelBudget
    student: Student
    where: Where
    asking: asyncio.Lock
    out: Path
    progress: Progress

    async def on(self, subject: MeasuredModel) -> None:
        """Train a subject, and store the outcome."""
        folder = self.out / subject.path
        known = conditions(self.experiment, subject, self.budget)
        samples = await asyncio.to_thread(_samples, self.experiment, subject, self.budget, self.out)
        if samples.reason:
            self.progress.note(f"{subject}: nothing is trained: {samples.reason}")
            TrainedArm(known, reason=samples.reason).write(folder)
            return
        began = time.monotonic()
        number = count(1)

        async def find_wrong(version: str) -> list[Label]:
            return await self._find_wrong(subject, samples.labels, version, next(number))

        made, labels = await train_repaired(
            samples.labels,
            samples.gap,
            subject.arm.regimen.repairs,
            partial(self._train, subject, samples),
            find_wrong,
        )
        trained = TrainedArm(
            known,
            len(set(labels)),
            made.name,
            made.weights_sha256,
            time.monotonic() - began,
            steps=_steps(subject, len(labels) + len(samples.anchors)),
        )
        trained.write(folder)

    async def _train(
        self, subject: MeasuredModel, samples: TrainingSamples, labels: Sequence[Label]
    ) -> StudentVersion:
        regimen = subject.arm.regimen
        if needs_new_service(regimen):
            plan = await self.student.plan_training(training_pb2.Hyperparameters())
            require_new_service(regimen, plan, self.student.address)
        weights = regimen.weights(samples.gap)
        dataset = await self.student.upload(
            lambda: parts(samples.images(), labels, weights, samples.anchors, regimen.anchor)
        )
        request = partial(_request, self.experiment, subject, self.base, self.budget, dataset)
        return await train(self.student, request, self.progress)

    async def _find_wrong(
        self, subject: MeasuredModel, labels: Sequence[Label], version: str, number: int
    ) -> list[Label]:
        """Labels that a trained version gets wrong."""
        file = self.out / subject.path / f"wrong-{number}.json"
        asked = RespondentChoice(self.where, "student", version)
        async with self.asking:
            run = self.out / subject.pair.path
            return await ask_again(run, labels, asked, file, self.progress)


def _steps(subject: MeasuredModel, samples: int) -> int:
    usual = PRESETS[subject.student].hyperparameters
    return epochs_of(subject.arm, usual.epochs) * math.ceil(samples / usual.batch_size)


def _samples(
    experiment: Experiment, subject: MeasuredModel, budget: PixelBudget, out: Path
) -> TrainingSamples:
    assert subject.seed is not None
    if subject.arm.source is SampleSource.LABELS:
        tests = [one for entry in measured_on(experiment, subject) for one in entry.unseen]
        entry = experiment.entries[subject.task]
        return of_labels(entry, tests, subject.arm, subject.seed, budget)
    epochs = PRESETS[subject.student].hyperparameters.epochs
    questions = experiment.entries[subject.task].anchor_questions
    return of_run(out / subject.pair.path, subject.arm, subject.seed, epochs, questions)


def _request(
    experiment: Experiment,
    subject: MeasuredModel,
    base: Base,
    budget: PixelBudget,
    dataset: str,
    number: int,
) -> training_pb2.TrainRequest:
    """A request named by its content: the same training in another arm isn't repeated."""
    usual = PRESETS[subject.student].hyperparameters.epochs
    epochs = epochs_of(subject.arm, usual)
    assert subject.seed is not None
    chosen = hyperparameters(subject.arm.regimen, subject.seed, epochs, usual)
    if subject.arm.is_lora:
        chosen.lora_rank = experiment.lora.rank
        if subject.arm.regimen.learning_rate is None:
            chosen.learning_rate = experiment.lora.learning_rate
    settings = settings_of(experiment, experiment.entries[subject.task], budget)
    if settings.recipe.loss:
        chosen.loss = settings.recipe.loss
    contract = contract_to_proto(settings.contract)
    parts_of_it = (
        base.weights_sha256.encode(),
        dataset.encode(),
        chosen.SerializeToString(deterministic=True),
        contract.SerializeToString(deterministic=True),
    )
    content = hashlib.sha256(b"\n".join(parts_of_it)).hexdigest()
    return training_pb2.TrainRequest(
        request_id=f"experiment-{content[:32]}-{number}",
        dataset=dataset,
        base_version=base.version,
        run=f"experiment {experiment.name}",
        recipe=subject.arm.name,
        is_trial=True,
        hyperparameters=chosen,
        training_template=settings.contract.training_template,
        contract=contract,
    )


def conditions(
    experiment: Experiment, subject: MeasuredModel, budget: PixelBudget, *, by_name: bool = True
) -> str:
    """A hash of all that decides a training, apart from the subject's names.

    `by_name`: the pool is what the file names, wherever the data are; False: as in earlier
    releases, its place on this machine.
    """
    entry = experiment.entries[subject.task]
    known: Mapping[str, object]
    if subject.arm.source is SampleSource.LABELS:
        assert entry.labels is not None
        files = [
            (dataset.path.name, dataset.split, _digest(dataset.path))
            for dataset in entry.labels.datasets
        ]
        lora = asdict(experiment.lora) if subject.arm.is_lora else None
        loss = {"loss": experiment.recipe.loss} if experiment.recipe.loss else {}
        pixels = {name: size for name, size in asdict(budget).items() if size > 1}
        limit = entry.labels.limit
        known = {"labels": files, "limit": limit, "lora": lora, **loss, **pixels}
    else:
        settings = settings_of(experiment, entry, budget)
        images = entry.pool_name if by_name else settings.images
        questions = entry.anchor_questions if subject.arm.regimen.anchor else ()
        known = {"settings": replace(settings, images=images, anchor_questions=questions).to_json()}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
