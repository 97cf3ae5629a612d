"""Client of training: a data set is uploaded, and a google.longrunning.Operation trains on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from functools import partial

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc

from protos.mpa.v1 import training_pb2, training_pb2_grpc, versions_pb2
from services.core.errors import MpaError
from services.rpc import status
from services.rpc.client.client import CONTROL_TIMEOUT_S, Client
from services.rpc.client.replies import TrainingPlan, TrainingState
from services.rpc.connection import Reply
from services.rpc.peer import ANSWER_TIMEOUT_S, Peer

UPLOAD_TIMEOUT_S = 86_400.0
"""One day: a large parity set has 100 GB of images. Keepalive notices a service that is gone."""
LOSSES_TIMEOUT_S = 60.0
"""A million samples take seconds."""

_OWNERS = training_pb2.DESCRIPTOR.services_by_name["TrainingService"].full_name
"""Service that only the owner of a store reports as SERVING."""
_training = training_pb2_grpc.TrainingServiceStub
_operations = operations_pb2_grpc.OperationsStub


class TrainingClient(Client):
    """Training of the student at one address."""

    async def _control(self, send: Callable[[Peer], Awaitable[Reply]]) -> Reply:
        """Calls the owner of the store, which trains and decides, among the replicas."""
        return await self.connection.call(lambda: self._at_owner(send))

    async def _at_owner(self, send: Callable[[Peer], Awaitable[Reply]]) -> Reply:
        owner = await self.connection.peers.owner(_OWNERS)
        with owner.busy():
            return await send(owner)

    async def upload(
        self, parts: Callable[[], AsyncIterable[training_pb2.UploadDatasetRequest]]
    ) -> str:
        """Sends a data set, from the start at each try, and returns its name.

        Raises every error that `parts` raises.
        """
        failures: list[MpaError] = []
        try:
            reply = await self._control(
                lambda peer: peer.stub(_training).UploadDataset(
                    _each(parts(), failures), timeout=UPLOAD_TIMEOUT_S
                )
            )
        except asyncio.CancelledError:  # raised by gRPC if the iterator of requests failed
            if failures:
                raise failures[0] from None
            raise
        return str(reply.dataset)

    async def train(self, request: training_pb2.TrainRequest) -> TrainingState:
        """Raises Conflict while another training runs."""
        return _training_state(
            await self._control(
                lambda peer: peer.stub(_training).Train(request, timeout=CONTROL_TIMEOUT_S)
            )
        )

    async def plan_training(self, chosen: training_pb2.Hyperparameters) -> TrainingPlan | None:
        """Forecast of a training from the live version; None if the service is too old for one.

        Raises InvalidInput: it can't be trained.
        """
        request = training_pb2.PlanTrainingRequest(hyperparameters=chosen)

        async def send(peer: Peer) -> training_pb2.PlanTrainingResponse | None:
            plan = peer.stub(_training).PlanTraining
            try:
                response: training_pb2.PlanTrainingResponse = await plan(
                    request, timeout=CONTROL_TIMEOUT_S
                )
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return None
                raise
            return response

        reply = await self._control(send)
        if reply is None:
            return None
        is_loadable = reply.swap_way != versions_pb2.SWAP_WAY_IN_PLACE
        return TrainingPlan(
            reply.fits, reply.reason, is_loadable, reply.swap_reason, reply.takes_anchors
        )

    async def training(self, operation: str) -> TrainingState:
        """Raises NotFound."""
        request = operations_pb2.GetOperationRequest(name=operation)
        return _training_state(
            await self._control(
                lambda peer: peer.stub(_operations).GetOperation(request, timeout=ANSWER_TIMEOUT_S)
            )
        )

    async def sample_losses(self, operation: str) -> list[tuple[float, ...]]:
        """Losses by epoch of each sample of a training's data set, in its order; NaN: not known.

        Empty if the training or the service is of an earlier release. Raises NotFound.
        """
        request = training_pb2.GetSampleLossesRequest(operation=operation)

        async def receive(peer: Peer) -> list[tuple[float, ...]]:
            found: list[tuple[float, ...]] = []
            call = peer.stub(_training).GetSampleLosses(request, timeout=LOSSES_TIMEOUT_S)
            try:
                async for part in call:
                    values = tuple(part.losses)
                    if part.epochs < 1 or len(values) % part.epochs:
                        raise MpaError("the service's losses are not those of whole samples")
                    found += (
                        values[first : first + part.epochs]
                        for first in range(0, len(values), part.epochs)
                    )
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return []
                raise
            return found

        return await self._control(receive)

    async def operations(self) -> list[TrainingState]:
        """Every training that the service knows, oldest first."""
        found: list[TrainingState] = []
        page = ""
        while True:
            request = operations_pb2.ListOperationsRequest(page_token=page)
            reply = await self._control(partial(_list_operations, request))
            found += map(_training_state, reply.operations)
            page = reply.next_page_token
            if not page:
                return found


async def _list_operations(
    request: operations_pb2.ListOperationsRequest, peer: Peer
) -> operations_pb2.ListOperationsResponse:
    reply: operations_pb2.ListOperationsResponse = await peer.stub(_operations).ListOperations(
        request, timeout=ANSWER_TIMEOUT_S
    )
    return reply


async def _each(parts: AsyncIterable[Reply], failures: list[MpaError]) -> AsyncIterator[Reply]:
    try:
        async for part in parts:
            yield part
    except MpaError as error:
        failures.append(error)
        raise


def _training_state(operation: operations_pb2.Operation) -> TrainingState:
    progress, result = training_pb2.TrainMetadata(), training_pb2.TrainResponse()
    operation.metadata.Unpack(progress)
    if operation.HasField("response"):
        operation.response.Unpack(result)
    return TrainingState(
        operation=operation.name,
        phase=progress.phase,
        step=progress.step,
        total_steps=progress.total_steps,
        loss=progress.loss,
        samples_per_s=progress.samples_per_second,
        eta_s=progress.eta_seconds,
        version=result.version,
        error=status.from_status(operation.error) if operation.HasField("error") else None,
    )
