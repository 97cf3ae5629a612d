"""Parity Leveler (paper, Section 3.3): sends the parity set to the student, and follows it."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import replace
from functools import partial

from protos.mpa.v1 import training_pb2
from services.core.errors import WrongState
from services.core.parity import Cell
from services.core.pixels import PixelBudget
from services.core.presets import PRESETS
from services.core.recipes import Recipe
from services.core.regimen import Regimen
from services.core.repair import repair, repeat
from services.orchestrator.images.reading import read_again
from services.orchestrator.images.source import Source
from services.orchestrator.run.ledger.losses import keep_losses
from services.orchestrator.run.ledger.opinions import Label
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.orchestrator.run.settings import Settings
from services.orchestrator.run.state import Version
from services.orchestrator.steps.anchoring import draw_anchors
from services.orchestrator.steps.following import keep_loss, losses_by_label, train
from services.orchestrator.steps.parity_set import ParitySample
from services.orchestrator.steps.repairing import find_wrong
from services.rpc.client import Picture, Student, StudentVersion, TrainingState
from services.rpc.wire import contract_to_proto


async def level(
    run: Run, student: Student, parity_set: Sequence[ParitySample], progress: Progress
) -> str:
    """Trains the candidate and returns its name. Raises as `train` does.

    A repetition after an interruption follows the same training.
    """
    if done := run.state.candidate:
        return done.name
    with run.timed("level"):
        recipe = run.settings.recipe
        source = run.find_images()
        paths = {parity.sample.image_sha256: parity.path for parity in parity_set}
        usual = usual_epochs(recipe, (await student.trainings())[0])
        samples = [parity.sample for parity in parity_set]
        meetings = recipe.meetings(samples, run.settings.seed, usual)
        gap = [sample.label for sample in samples if sample.cell is Cell.GAP]
        weights = recipe.weights(gap)
        anchors = draw_anchors(
            recipe,
            run.settings.task,
            run.ledger.records(),
            [met.image_sha256 for met in meetings],
            run.settings.anchor_questions,
            run.settings.seed,
        )
        budget = run.settings.pixel_budget
        operation = ""

        def follow(training: TrainingState) -> None:
            nonlocal operation
            operation = training.operation
            keep_loss(run.state, training)

        async def train_on(labels: Sequence[Label]) -> StudentVersion:
            dataset = await student.upload(
                lambda: parts(
                    pictures(source, paths, budget), labels, weights, anchors, recipe.anchor
                )
            )
            run.state.training_begun = True
            request = partial(_request, run, dataset, usual)
            return await train(student, request, progress, follow)

        made, met = await train_repaired(
            [met.label for met in meetings],
            set(gap),
            recipe.repairs,
            train_on,
            partial(find_wrong, run, student, parity_set, progress),
        )
        losses = await losses_by_label(student, operation, met, progress)
    with run.ledger.at_once():
        keep_losses(run.ledger, losses)
        run.state.candidate = Version(made.name, made.weights_sha256)
    return made.name


async def train_repaired(
    labels: Sequence[Label],
    gap: Collection[Label],
    repairs: int,
    train_on: Callable[[Sequence[Label]], Awaitable[StudentVersion]],
    ask_again: Callable[[str], Awaitable[Iterable[Label]]],
) -> tuple[StudentVersion, Sequence[Label]]:
    """The version of the last training, and all meetings of its samples (core/repair.py).

    `ask_again`: the labels that a version gets wrong.
    """
    met, times = labels, dict[Label, int]()
    made = await train_on(met)
    for _ in range(repairs):
        repaired = repair(times, gap, await ask_again(made.name))
        if repaired == times:
            break
        times = repaired
        met = repeat(labels, times)
        made = await train_on(met)
    return made, met


def _round(run: Run) -> str:
    """Name of the round's training: each round has its own, even on the same samples."""
    return f"round{run.ledger.round}-" if run.ledger.round > 1 else ""


def usual_epochs(recipe: Recipe, preset: str) -> int:
    """Epochs of the student's preset; 0 if it is not known here.

    Raises WrongState if the recipe needs their number.
    """
    if preset in PRESETS:
        return PRESETS[preset].hyperparameters.epochs
    if recipe.emphasis and not recipe.epochs:
        raise WrongState(
            f"the student's preset {preset!r} is not known to this release, and the recipe "
            f"{recipe.name} lists the meetings of all its epochs: add +epochs-N to the recipe"
        )
    return 0


def hyperparameters(
    regimen: Regimen, seed: int, passes: int, usual: int
) -> training_pb2.Hyperparameters:
    """Hyperparameters that a regimen sets; others are the preset's, with `usual` epochs."""
    chosen = training_pb2.Hyperparameters(
        seed=seed,
        learning_rate=regimen.learning_rate,
        weight_decay=regimen.weight_decay,
        trainable=regimen.trainable or None,
        tower_rate=regimen.tower_rate,
    )
    if passes != usual:
        chosen.epochs = passes
    return chosen


def hyperparameters_of(settings: Settings, usual: int) -> training_pb2.Hyperparameters:
    """Hyperparameters of a run's training. `usual`: epochs of the student's preset."""
    recipe = settings.recipe
    chosen = hyperparameters(recipe, settings.seed, recipe.passes(usual), usual)
    if recipe.emphasis or recipe.epochs:
        chosen.epochs = recipe.passes(usual)
    chosen.lora_rank = settings.lora_rank
    if recipe.loss:
        chosen.loss = recipe.loss
    return chosen


def _request(run: Run, dataset: str, usual: int, number: int) -> training_pb2.TrainRequest:
    """The request.

    It names the processor of the student that was identified: the service refuses a
    student with another pixel budget.
    """
    settings = run.settings
    base = run.state.the_base
    processor = base.processor_sha256
    recipe = settings.recipe
    return training_pb2.TrainRequest(
        request_id=f"{run.id}-{dataset[:16]}-{_round(run)}{number}",
        dataset=dataset,
        base_version=base.name,
        run=run.id,
        recipe=recipe.name,
        hyperparameters=hyperparameters_of(settings, usual),
        training_template=recipe.training_template,
        contract=contract_to_proto(replace(settings.contract, processor_sha256=processor)),
    )


def pictures(
    source: Source, paths: Mapping[str, str], budget: PixelBudget
) -> Iterator[Callable[[], Picture]]:
    """Accepted images by sha256 and path, in the order of the source, where neighbours are
    cheap.
    """
    for image_sha256, path in sorted(paths.items(), key=lambda image: image[1]):
        yield partial(read_again, source, path, image_sha256, budget)


async def parts(
    images: Iterable[Callable[[], Picture]],
    labels: Iterable[Label],
    weights: Mapping[Label, float] | None = None,
    anchors: Iterable[tuple[str, str]] = (),
    anchor_weight: float = 0.0,
) -> AsyncIterator[training_pb2.UploadDatasetRequest]:
    """Parts of a data set: the images first, each once, then the samples that name them.

    The service knows a shrunk image by the hash of the copy that it is sent. `weights`: those of
    samples that don't weigh 1 in the loss. `anchors`: image and question of each, about the same
    images.
    """
    sent: dict[str, str] = {}
    for load in images:
        picture = await asyncio.to_thread(load)
        if picture.data_sha256:
            sent[picture.sha256] = picture.data_sha256
        yield training_pb2.UploadDatasetRequest(image=picture.data)
    weights = weights or {}
    for label in labels:
        image_sha256, question, answer = label
        sample = training_pb2.TrainingSample(
            image_sha256=sent.get(image_sha256, image_sha256),
            question=question,
            answer=answer,
            weight=weights.get(label),
        )
        yield training_pb2.UploadDatasetRequest(sample=sample)
    for image_sha256, question in anchors:
        sample = training_pb2.TrainingSample(
            image_sha256=sent.get(image_sha256, image_sha256),
            question=question,
            weight=anchor_weight,
            anchor=True,
        )
        yield training_pb2.UploadDatasetRequest(sample=sample)
