"""Trainings of the student's service: begun, followed to their end, shown."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count

from protos.mpa.v1 import training_pb2
from services.core.errors import MpaError, NotFound
from services.orchestrator.run.ledger.opinions import Label
from services.orchestrator.run.progress import Meter, Progress
from services.orchestrator.run.state import State
from services.rpc.client import Student, StudentVersion, TrainingState

POLL_EVERY_S = 0.5
MOST_LOSSES = 200
"""Points of a loss curve."""


def keep_loss(kept: State, training: TrainingState) -> None:
    """Adds a point to the round's loss curve, or begins another with a further training's."""
    step, points = training.step, kept.losses
    if points and step < points[-1][0]:
        points = ()
    last = points[-1][0] if points else 0
    is_due = step > last and (step - last) * MOST_LOSSES >= training.total_steps
    if training.loss and is_due:  # none is known before the first report
        kept.losses = (*points, (step, round(training.loss, 4)))


async def train(
    student: Student,
    request: Callable[[int], training_pb2.TrainRequest],
    progress: Progress,
    follow: Callable[[TrainingState], None] = lambda _: None,
) -> StudentVersion:
    """The trained version. `request` builds the request of the nth attempt.

    `follow` gets every state of the training that is seen. A failed attempt is repeated as
    another one. The training belongs to the student service: an interrupted orchestrator
    doesn't stop it, and the same request finds it again. Raises MpaError if it failed or was
    cancelled while this command followed it.
    """
    for number in count():
        asked = request(number)
        state = await student.train(asked)
        if state.error is None:
            break
        progress.note(f"level: {state.operation} has failed before ({state.error}), training again")
    state = await _follow(student, asked, state, progress, follow)
    if state.error is not None:
        raise MpaError(
            f"training {state.operation} ended as {state.phase or 'failed'}: {state.error}; "
            "repeat the command to continue it, or to train again"
        )
    return await student.version(state.version)


async def losses_by_label(
    student: Student, operation: str, labels: Sequence[Label], progress: Progress
) -> dict[Label, list[float]]:
    """Losses of a training by epoch. `labels`: the first samples of its data set.

    Nothing if the service can't tell: they are for people only.
    """
    try:
        return by_label(labels, await student.sample_losses(operation))
    except MpaError as error:
        progress.note(f"level: the losses of the samples are not kept ({error})")
        return {}


def by_label(
    labels: Sequence[Label], losses: Sequence[Sequence[float]]
) -> dict[Label, list[float]]:
    """Losses by epoch of each label; the mean of those that an epoch met several times.

    `losses`: of each sample, in the order of `labels`; those of anchors follow.
    """
    met: dict[Label, list[Sequence[float]]] = defaultdict(list)
    for label, by_epoch in zip(labels, losses, strict=False):
        met[label].append(by_epoch)
    return {
        label: [statistics.fmean(epoch) for epoch in zip(*all_of_it, strict=False)]
        for label, all_of_it in met.items()
    }


async def await_earlier(student: Student, progress: Progress) -> None:
    """Wait for trainings that earlier commands began: the service does one at a time."""
    for state in [one for one in await student.operations() if not one.has_ended]:
        progress.note(f"waiting for {state.operation}, which an earlier command began")
        with suppress(NotFound):
            await _follow(student, None, state, progress, lambda _: None)


async def _follow(
    student: Student,
    request: training_pb2.TrainRequest | None,
    state: TrainingState,
    progress: Progress,
    follow: Callable[[TrainingState], None],
) -> TrainingState:
    """Follows the training until it has ended, well or not."""
    with progress.stage("level", "steps", state.total_steps) as meter:
        while not state.has_ended:
            _show(meter, state)
            follow(state)
            await asyncio.sleep(POLL_EVERY_S)
            try:
                state = await student.training(state.operation)
            except NotFound:
                if request is None:
                    raise
                state = await student.train(request)  # the restarted service takes it up again
        _show(meter, state)
    follow(state)
    return state


def _show(meter: Meter, state: TrainingState) -> None:
    meter.total = state.total_steps
    if not state.step:  # loading the model is no step
        meter.began = time.monotonic()
    remark = (
        f"{state.phase} loss {state.loss:.3f} {state.samples_per_s:.0f} samples/s"
        if state.step
        else state.phase
    )
    if state.eta_s:
        remark += f" {state.eta_s:.0f} s left"
    meter.set_done(state.step, remark)
