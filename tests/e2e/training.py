"""A training of a running student, and its version."""

import asyncio
from functools import partial

from protos.mpa.v1 import training_pb2
from services.engines.images import load_image
from services.orchestrator.steps.leveling import parts
from services.rpc.client import Picture
from tests.pictures import numbered_png

IMAGES = [numbered_png(number) for number in range(8)]
PICTURES = [Picture(load_image(data).sha256, data) for data in IMAGES]


async def train(student, labels, contract=None):
    """`labels`: hash of one of the IMAGES, question and answer of each sample."""
    dataset = await student.upload(
        lambda: parts([partial(PICTURES.__getitem__, n) for n in range(len(PICTURES))], labels)
    )
    chosen = training_pb2.Hyperparameters(learning_rate=1e-3, epochs=2)
    request = training_pb2.TrainRequest(
        request_id="r", dataset=dataset, hyperparameters=chosen, contract=contract
    )
    state = await student.train(request)
    while not state.version:
        assert state.error is None, state.error
        await asyncio.sleep(0.5)
        state = await student.training(state.operation)
    return state.version
