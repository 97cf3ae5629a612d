"""Parity Leveler (paper, Section 3.3), seen from outside: send the parity set to the student, have it train, follow it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

from protos.mpa.v1 import training_pb2
from services.core.errors import MpaError, NotFound
from services.orchestrator.images.reading import read_again
from services.orchestrator.images.source import Source
from services.orchestrator.parity_set import ParitySample
from services.orchestrator.progress import Meter, Progress
from services.orchestrator.run import Run
from services.rpc.client import StudentClient, TrainingState

POLL_EVERY_S = 0.5


async def level(run: Run, student: StudentClient, parity_set: Sequence[ParitySample], progress: Progress) -> str:
    """The new version's name. Repeated after an interruption it follows the same training.

    The training belongs to the student service: interrupting the orchestrator doesn't stop it. Raises MpaError where it failed
    or was cancelled under this command's eyes; one that an earlier command began, and that failed since, is begun anew.
    """
    if done := run.ledger.meta("version.after"):
        return done
    with run.timed("level"):
        images = run.find_images()
        dataset = await student.upload(lambda: _parts(images, parity_set))
        request = _request(run, dataset)
        was_begun = run.ledger.meta("training.begun") == request.request_id
        run.ledger.set_meta("training.begun", request.request_id)
        state = await student.train(request)
        if was_begun and state.error is not None:
            run.ledger.set_meta("training", str(_try(run) + 1))
            progress.note(f"level: {state.operation} has failed meanwhile ({state.error}), training anew")
            request = _request(run, dataset)
            state = await student.train(request)
        state = await _follow(student, request, state, progress)
    if state.error is not None:
        run.ledger.set_meta("training", str(_try(run) + 1))
        raise MpaError(f"training {state.operation} ended as {state.phase or 'failed'}: {state.error}; repeat to train anew")
    made = await student.version(state.version)
    with run.ledger.at_once():
        run.ledger.set_meta("version.after.weights", made.weights_sha256)
        run.ledger.set_meta("version.after", made.name)
    return state.version


async def _follow(
    student: StudentClient, request: training_pb2.TrainRequest, state: TrainingState, progress: Progress
) -> TrainingState:
    """Until it has ended, well or not."""
    with progress.stage("level", "steps", state.total_steps) as meter:
        while not state.version and state.error is None:
            _show(meter, state)
            await asyncio.sleep(POLL_EVERY_S)
            try:
                state = await student.training(state.operation)
            except NotFound:  # the service was restarted and takes the request up again
                state = await student.train(request)
        _show(meter, state)
    return state


def _try(run: Run) -> int:
    return int(run.ledger.meta("training") or 0)


def _round(run: Run) -> str:
    """Each round's training is another one, even on the same samples."""
    return f"round{run.ledger.round}-" if run.ledger.round > 1 else ""


def _request(run: Run, dataset: str) -> training_pb2.TrainRequest:
    return training_pb2.TrainRequest(
        request_id=f"{run.id}-{dataset[:16]}-{_round(run)}{_try(run)}",
        dataset=dataset,
        base_version=run.ledger.meta("version.before"),
        run=run.id,
        recipe=run.settings.recipe.name,
        hyperparameters=training_pb2.Hyperparameters(seed=run.settings.seed, lora_rank=run.settings.lora_rank),
        training_template=run.settings.recipe.training_template,
    )


async def _parts(source: Source, parity_set: Sequence[ParitySample]) -> AsyncIterator[training_pb2.UploadDatasetRequest]:
    """The images first, each once, then the samples that name them."""
    paths = {parity.sample.image_sha256: parity.path for parity in parity_set}
    # In the order of the source, where neighbours are read together.
    for image_sha256, path in sorted(paths.items(), key=lambda image: image[1]):
        picture = await asyncio.to_thread(read_again, source, path, image_sha256)
        yield training_pb2.UploadDatasetRequest(image=picture.data)
    for parity in parity_set:
        sample = training_pb2.TrainingSample(
            image_sha256=parity.sample.image_sha256, question=parity.sample.question, answer=parity.sample.answer
        )
        yield training_pb2.UploadDatasetRequest(sample=sample)


def _show(meter: Meter, state: TrainingState) -> None:
    meter.total = state.total_steps
    if not state.step:  # loading the model is no step
        meter.began = time.monotonic()
    remark = f"{state.phase} loss {state.loss:.3f} {state.samples_per_s:.0f} samples/s" if state.step else state.phase
    if state.eta_s:
        remark += f" {state.eta_s:.0f} s left"
    meter.set_done(state.step, remark)
