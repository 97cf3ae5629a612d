"""google.longrunning.Operations for the trainings of a student."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from protos.mpa.v1 import training_pb2
from services.core.errors import Cancelled, InvalidInput, MpaError, PermissionDenied
from services.rpc.access.caller import the_caller
from services.rpc.access.roles import AccessRole
from services.rpc.status import to_status
from services.student.job_state import FINAL, Phase
from services.student.student import HostedStudent

_OPERATIONS = "operations/"
_MAX_WAIT_S = 600.0
"""Longest wait. After it, the unfinished operation is returned."""
_MOST_OPERATIONS = 1000
"""Most operations on a page."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
ReadyStudent = Callable[[], HostedStudent]


class OperationsServicer(operations_pb2_grpc.OperationsServicer):
    """Servicer of operations. They are kept forever: there is no DeleteOperation."""

    def __init__(self, student: ReadyStudent) -> None:
        self._student = student

    async def GetOperation(
        self, request: operations_pb2.GetOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        student = self._student()
        name = job_name(request.name)
        require_own(student, name, AccessRole.READ)
        return describe_operation(student, name)

    async def ListOperations(
        self, request: operations_pb2.ListOperationsRequest, context: Context
    ) -> operations_pb2.ListOperationsResponse:
        student = self._student()
        names = student.jobs.names()
        first, size = _page(request)
        following = str(first + size) if first + size < len(names) else ""
        operations = [describe_operation(student, name) for name in names[first : first + size]]
        return operations_pb2.ListOperationsResponse(
            operations=operations, next_page_token=following
        )

    async def CancelOperation(
        self, request: operations_pb2.CancelOperationRequest, context: Context
    ) -> Empty:
        student = self._student()
        name = job_name(request.name)
        require_own(student, name, AccessRole.OPERATE)
        await student.jobs.cancel(name)
        return Empty()

    async def WaitOperation(
        self, request: operations_pb2.WaitOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        student = self._student()
        name = job_name(request.name)
        require_own(student, name, AccessRole.READ)
        await student.jobs.wait(name, _wait_s(request))
        return describe_operation(student, name)


def _page(request: operations_pb2.ListOperationsRequest) -> tuple[int, int]:
    """Index of a page's first operation, and the largest number of operations on it."""
    size = request.page_size or _MOST_OPERATIONS
    token = request.page_token or "0"
    if size < 0:
        raise InvalidInput(
            f"page_size is {size}: give 1 or more, or 0 for the default", field="page_size"
        )
    if not (token.isascii() and token.isdigit() and len(token) < 10):
        raise InvalidInput(
            f"page_token is {token!r}: give the next_page_token of a page", field="page_token"
        )
    return int(token), min(size, _MOST_OPERATIONS)


def _wait_s(request: operations_pb2.WaitOperationRequest) -> float:
    if not request.HasField("timeout"):
        return _MAX_WAIT_S
    seconds: float = request.timeout.seconds + request.timeout.nanos / 1e9
    if seconds < 0:
        raise InvalidInput(f"timeout is {seconds:g} s: give 0 or more", field="timeout")
    return min(seconds, _MAX_WAIT_S)


def job_name(operation: str) -> str:
    """Name of the training that an operation names."""
    return operation.removeprefix(_OPERATIONS)


def require_own(student: HostedStudent, name: str, role: AccessRole) -> None:
    """Raises PermissionDenied: the training is another key's, and the caller lacks `role`.

    Raises NotFound.
    """
    caller = the_caller()
    if caller.has(role):
        return
    with suppress(InvalidInput):  # a damaged job is nobody's
        if student.jobs.job(name).key == caller.id:
            return
    raise PermissionDenied(
        f"training {name} was started with another key, and yours lacks the role {role}",
        role=role,
        reason="NOT_YOURS",
    )


def describe_operation(student: HostedStudent, name: str) -> operations_pb2.Operation:
    """Raises NotFound."""
    jobs = student.jobs
    state = jobs.state(name)
    progress = jobs.progress(name)
    operation = operations_pb2.Operation(name=_OPERATIONS + name, done=state.phase in FINAL)
    metadata = training_pb2.TrainMetadata(
        step=progress.step,
        total_steps=progress.total_steps,
        loss=progress.loss,
        samples_per_second=progress.samples_per_second,
        eta_seconds=progress.eta_seconds,
        phase=state.phase,
    )
    with suppress(InvalidInput):  # a damaged job: its state names the fault
        job = jobs.job(name)
        metadata.request_id = job.request_id
        metadata.base_version = job.base_version
        metadata.dataset = job.dataset
    operation.metadata.Pack(metadata)
    if state.phase is Phase.DONE:
        response = training_pb2.TrainResponse(
            version=state.version, train_loss=progress.loss, seconds=progress.seconds
        )
        operation.response.Pack(response)
    elif state.phase is Phase.CANCELLED:
        operation.error.CopyFrom(to_status(Cancelled(f"training {name} was cancelled")))
    elif state.phase is Phase.FAILED:
        operation.error.CopyFrom(
            to_status(MpaError(f"training {name} failed: {state.error}", reason="TRAINING_FAILED"))
        )
    return operation
