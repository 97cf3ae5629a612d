"""Train one epoch, and load the trained version next to the live one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

from benchmarks import photos
from benchmarks.gpu_check.models import Models
from benchmarks.gpu_check.outcome import Figure
from protos.mpa.v1 import training_pb2
from services.orchestrator.steps.leveling import parts
from services.rpc.client import Picture, StudentClient

POLL_EVERY_S = 0.5


async def train(models: Models) -> list[Figure]:
    """The student trains on photos; the teacher has left the GPU."""
    await models.stop("teacher")
    student = await models.student()
    samples = models.scale.samples
    began = time.perf_counter()
    async with StudentClient(student.address) as client:
        dataset = await client.upload(lambda: _samples(samples, models.scale.student))
        asked = training_pb2.TrainRequest(
            request_id=f"gpu-check-{dataset[:16]}",
            dataset=dataset,
            hyperparameters=training_pb2.Hyperparameters(
                learning_rate=models.scale.learning_rate, batch_size=models.scale.batch, epochs=1
            ),
        )
        state = await client.train(asked)
        while not state.version and state.error is None:
            await asyncio.sleep(POLL_EVERY_S)
            state = await client.training(state.operation)
        if state.error is not None:
            raise state.error
        models.trained = state.version
        _, trained = await client.trainings()
    whole = time.perf_counter() - began
    seconds = trained[-1].seconds
    return [
        Figure("training samples/s", samples / seconds, "samples", f"{samples}, one epoch"),
        Figure("training, from the upload to the stored version", whole, "s", "with canaries"),
    ]


async def load(models: Models) -> list[Figure]:
    """The trained version is loaded, and answers its canaries."""
    student = await models.student()
    async with StudentClient(student.address) as client:
        began = time.perf_counter()
        await client.load(require_trained(models))
    seconds = time.perf_counter() - began
    return [Figure("candidate loaded, canaries passed", seconds, "s", "next to the live version")]


def require_trained(models: Models) -> str:
    """Raises RuntimeError: no version has been trained."""
    if not models.trained:
        raise RuntimeError("there is no trained version: the part train must run first")
    return models.trained


async def _samples(count: int, model: str) -> AsyncIterator[training_pb2.UploadDatasetRequest]:
    files = await asyncio.to_thread(photos.photos, count, model)
    pictures = [Picture.of(file.read_bytes()) for file in files]
    labels = [
        (picture.sha256, photos.QUESTIONS[0], photos.answer_of(number))
        for number, picture in enumerate(pictures)
    ]
    async for part in parts([partial(Picture, one.sha256, one.data) for one in pictures], labels):
        yield part
