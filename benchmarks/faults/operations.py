"""The four operations of a client, each repeated until it is done, as a client would."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks.faults.promised import Promised
from benchmarks.images import tiny_png
from protos.mpa.v1 import training_pb2
from services.core.errors import MpaError
from services.engines.images import sha256
from services.rpc.client.replies import TrainingState
from services.rpc.client.student import StudentClient
from services.student.datasets import TrainingSample
from services.student.manifest import Manifest

Result = TypeVar("Result")
IMAGES, SAMPLES = 24, 2000
IMAGE_BYTES = 20_000
TRAINED_ON = 8
"""Samples of the data set that trainings use: as many steps."""
POLL_S = 0.05
TRIES = 4
_numbers = itertools.count(1000)
"""Numbers of images, all different."""


class Operation(StrEnum):
    """Operations during which faults happen."""

    UPLOAD = "upload"
    TRAIN = "train"
    PROMOTE = "promote"
    SWAP = "swap"


class Violated(Exception):
    """The service has broken a promise."""


@dataclass(slots=True)
class Caller:
    """A client who uploads, trains and promotes, and remembers all replies."""

    client: StudentClient
    store: Path
    promised: Promised
    chance: random.Random = field(default_factory=random.Random)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the fault is over: from then on, whatever is repeated must succeed."""
    may_fail: bool = False
    """Whether the disk is full, so that a training may end with an error."""

    async def do(self, operation: Operation) -> None:
        """Raises Violated."""
        ways = {
            Operation.UPLOAD: lambda: self.upload(IMAGES, SAMPLES),
            Operation.TRAIN: self.train,
            Operation.PROMOTE: self.promote,
            Operation.SWAP: self.swap,
        }
        await ways[operation]()

    async def upload(self, images: int, samples: int) -> str:
        """Upload a data set that nobody has uploaded before."""
        numbers = [next(_numbers) for _ in range(images)]
        padding = self.chance.randbytes(IMAGE_BYTES)
        data = [tiny_png(number) + padding for number in numbers]
        names = [sha256(each) for each in data]
        lines = [
            TrainingSample(names[number % images], f"what is {number}?", "red")
            for number in range(samples)
        ]
        expected = hashlib.sha256(b"".join(line.line() for line in lines)).hexdigest()

        async def parts() -> AsyncIterator[training_pb2.UploadDatasetRequest]:
            for image in data:
                yield training_pb2.UploadDatasetRequest(image=image)
            for line in lines:
                sample = training_pb2.TrainingSample(
                    image_sha256=line.image_sha256, question=line.question, answer=line.answer
                )
                yield training_pb2.UploadDatasetRequest(sample=sample)

        name = await self._persist(lambda: self.client.upload(parts))
        if name != expected:
            raise Violated(f"data set {name} was acknowledged: {expected} was sent")
        self.promised.datasets[name] = frozenset(names)
        self._audited("UploadDataset")
        return name

    async def train(self) -> str:
        """Train a version on one of the small data sets, and return its name.

        A failed training is repeated, as mpa-orch does: it continues from weights that it has.
        Without any it has failed for good, and another one is started.
        """
        request, is_repeated = self._training(), False
        while True:
            state = await self._persist(partial(self.client.train, request))
            self.promised.trainings.setdefault(request.request_id, state.operation)
            self._audited("Train")
            if is_repeated and state.error is not None:
                request, is_repeated = self._training(), False
                continue
            state = await self._followed(state)
            if state.version:
                break
            if not self.may_fail:
                raise Violated(f"training {state.operation} has failed: {state.error}")
            await self.is_over.wait()
            self.may_fail, is_repeated = False, True
        manifest = await asyncio.to_thread(Manifest.read, self.store / "versions" / state.version)
        self.promised.versions[state.version] = manifest.weights_sha256
        return state.version

    def _training(self) -> training_pb2.TrainRequest:
        request = training_pb2.TrainRequest(
            request_id=uuid.uuid4().hex,
            dataset=next(iter(self.promised.datasets)),
            base_version=self.chance.choice(sorted(self.promised.versions)),
        )
        request.hyperparameters.batch_size = 1
        request.hyperparameters.epochs = 1
        return request

    async def _followed(self, state: TrainingState) -> TrainingState:
        """State of a training when it has ended."""
        operation = state.operation
        while not state.has_ended:
            await asyncio.sleep(POLL_S)
            state = await self._persist(lambda: self.client.training(operation))
        return state

    async def promote(self) -> None:
        """Promote another version."""
        live = self.promised.live
        name = self.chance.choice(sorted(self.promised.versions.keys() - {live}))
        self.promised.try_to_point(name)
        await self._persist(lambda: self._promote_once(name, live))
        self.promised.point(name)
        self._audited("PromoteVersion")

    async def _promote_once(self, name: str, live: str) -> None:
        try:
            done = await self.client.promote(name, expected_live=live)
        except MpaError as error:
            if error.reason == "LIVE_CHANGED":
                raise Violated(f"a repeated promotion was refused: {error}") from error
            raise
        if done.pointers.live != name:
            raise Violated(f"{done.pointers} was acknowledged after a promotion of {name}")

    async def swap(self) -> None:
        """Promote another version in place, and roll back."""
        await self.promote()
        if self.chance.random() < 0.5:
            await self._roll_back()

    async def _roll_back(self) -> None:
        """A rollback is not repeated blindly: a second one would undo the first."""
        before = self.promised.live
        target = (await self._persist(self.client.pointers)).previous
        self.promised.try_to_point(target)

        async def once() -> str:
            now = (await self.client.pointers()).live
            if now == before:
                now = (await self.client.rollback()).live
            return now

        if (now := await self._persist(once)) != target:
            raise Violated(f"version {now} is live after a rollback to {target}")
        self.promised.point(target)

    async def _persist(self, send: Callable[[], Awaitable[Result]]) -> Result:
        """Repeat a request until it succeeds. Raises Violated: it fails without a fault."""
        for _ in range(TRIES):
            was_over = self.is_over.is_set()
            try:
                return await send()
            except MpaError as error:
                trouble = error
                if was_over:
                    raise Violated(f"after the fault: {type(error).__name__}: {error}") from error
                await self.is_over.wait()
        raise Violated(f"it never succeeded: {trouble}")

    def _audited(self, action: str) -> None:
        if not self.may_fail:
            self.promised.audited[action] += 1
