"""Clients of the two services: typed results, an image sent once and then named, a deadline for each call.

What an orchestrator asks by the million goes over bidirectional streams (bulk.py); the rest are unary calls.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc

from protos.mpa.v1 import (
    student_pb2,
    student_pb2_grpc,
    teacher_pb2,
    teacher_pb2_grpc,
    training_pb2,
    training_pb2_grpc,
    types_pb2,
    versions_pb2,
    versions_pb2_grpc,
)
from services.core.decoding import Decoding
from services.core.errors import ImageUnknown, MpaError
from services.core.usage import NO_USAGE, Tariff, Usage
from services.engines.model import FinishReason
from services.rpc import status
from services.rpc.bulk import Bulk
from services.rpc.connection import IN_FLIGHT, PATIENCE_S, Connection, Notice, Reply
from services.rpc.wire import CHECK, decoding_to_proto, finish_reason_from_proto, usage_from_proto

ANSWER_TIMEOUT_S = 120.0
CONTROL_TIMEOUT_S = 600.0
REMEMBERED_IMAGES = 4096


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image file; `sha256` (hex) names it once a service holds it."""

    sha256: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a reply came about: why it ended, what it took, and what a closed model's provider says about its backend.

    `is_cached`: it was known, and nothing was asked for it; `usage` is what it took when it was.
    """

    finish_reason: FinishReason = FinishReason.STOP
    usage: Usage = NO_USAGE
    system_fingerprint: str = ""
    is_cached: bool = False


NOTHING_KNOWN = Provenance()


@dataclass(frozen=True, slots=True)
class TeacherModel:
    """What decides a reply beside the request: `fingerprint` and `serving_sha256` (hex). `name` is for people.

    `tariff` None: a model of one's own, whose usage has no dollars.
    """

    fingerprint: str
    serving_sha256: str
    name: str = ""
    tariff: Tariff | None = None


@dataclass(frozen=True, slots=True)
class AnnotationReply:
    """What the teacher wrote. `rejection` says why it is no annotation, "" where it is one."""

    text: str
    question: str
    answer: str
    rejection: str
    model_fingerprint: str
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class AnswerReply:
    """`version`: the student's version, or the teacher's model fingerprint."""

    answer: str
    version: str
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class StudentVersion:
    """`system_prompt` "" is the chat template's own."""

    name: str
    is_loaded: bool
    weights_sha256: str
    system_prompt: str = ""


@dataclass(frozen=True, slots=True)
class Pointers:
    """Names of versions; "" where there is none."""

    live: str
    candidate: str = ""
    previous: str = ""


@dataclass(frozen=True, slots=True)
class TrainingState:
    """A training operation as it stands: `version` once it succeeded, `error` once it failed."""

    operation: str
    phase: str
    step: int
    total_steps: int
    loss: float
    samples_per_s: float
    eta_s: float
    version: str
    error: MpaError | None


class _Client(ABC):
    """What both clients share: their connection, and which images the service holds already."""

    name = ""

    def __init__(
        self,
        address: str,
        *,
        patience_s: float = PATIENCE_S,
        in_flight: int = IN_FLIGHT,
        notice: Notice = lambda _: None,
    ) -> None:
        self.connection = Connection(self.name, address, patience_s, in_flight, notice)
        self._held: dict[str, None] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(bulk.close() for bulk in self._bulk()))
        await self.connection.channel.close(None)

    @abstractmethod
    def _bulk(self) -> Sequence[Bulk[Any, Any]]:
        """The streams that it asks through."""

    async def _with_image(
        self, picture: Picture, send: Callable[[types_pb2.Image], Awaitable[Reply]], *, retry: bool = True
    ) -> Reply:
        """Sends the bytes once, then only their name; the bytes again where the service has forgotten them."""
        call = self.connection.call if retry else self.connection.call_once
        if picture.sha256 in self._held:
            try:
                return await call(lambda: send(types_pb2.Image(sha256=picture.sha256)))
            except ImageUnknown:
                self._held.pop(picture.sha256, None)
        reply = await call(lambda: send(types_pb2.Image(data=picture.data)))
        self._held[picture.sha256] = None
        if len(self._held) > REMEMBERED_IMAGES:
            del self._held[next(iter(self._held))]
        return reply


class TeacherClient(_Client):
    name = "teacher"

    def __init__(
        self,
        address: str,
        *,
        patience_s: float = PATIENCE_S,
        in_flight: int = IN_FLIGHT,
        notice: Notice = lambda _: None,
    ) -> None:
        super().__init__(address, patience_s=patience_s, in_flight=in_flight, notice=notice)
        self._stub = stub = teacher_pb2_grpc.TeacherServiceStub(self.connection.channel)
        self._annotations: Bulk[teacher_pb2.AnnotateRequest, teacher_pb2.AnnotateResponse] = Bulk(
            stub.AnnotateStream, teacher_pb2.AnnotateStreamRequest, ANSWER_TIMEOUT_S, address
        )
        self._answers: Bulk[teacher_pb2.TeacherServiceAnswerRequest, teacher_pb2.TeacherServiceAnswerResponse] = Bulk(
            stub.AnswerStream, teacher_pb2.TeacherServiceAnswerStreamRequest, ANSWER_TIMEOUT_S, address
        )

    def _bulk(self) -> Sequence[Bulk[Any, Any]]:
        return self._annotations, self._answers

    async def ready(self) -> None:
        """Waits until the service can answer. Raises Unavailable."""
        await self.connection.wait_until_serving()

    async def model(self) -> TeacherModel | None:
        """None where the service speaks an older contract, and doesn't say."""

        async def send() -> teacher_pb2.GetModelResponse | None:
            try:
                response: teacher_pb2.GetModelResponse = await self._stub.GetModel(
                    teacher_pb2.GetModelRequest(), timeout=ANSWER_TIMEOUT_S
                )
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return None
                raise
            return response

        reply = await self.connection.call(send)
        if reply is None:
            return None
        bill = reply.tariff
        tariff = Tariff(bill.input_usd, bill.output_usd, bill.image_tokens) if reply.HasField("tariff") else None
        name = f"{reply.model or reply.preset} ({reply.engine})"
        return TeacherModel(reply.model_fingerprint, reply.serving_sha256, name, tariff)

    async def annotate(
        self, picture: Picture, task: str, prompt: str, decoding: Decoding, *, guided: bool = False
    ) -> AnnotationReply:
        async def send(image: types_pb2.Image) -> teacher_pb2.AnnotateResponse:
            request = teacher_pb2.AnnotateRequest(
                image=image, task=task, prompt=prompt, decoding=decoding_to_proto(decoding), guided=guided
            )
            return await self._annotations.ask(request)

        reply = await self._with_image(picture, send)
        return AnnotationReply(
            reply.text, reply.question, reply.answer, reply.rejection, reply.model_fingerprint, _provenance(reply)
        )

    async def answer(self, picture: Picture, question: str, template: str, decoding: Decoding) -> AnswerReply:
        async def send(image: types_pb2.Image) -> teacher_pb2.TeacherServiceAnswerResponse:
            request = teacher_pb2.TeacherServiceAnswerRequest(
                image=image, question=question, template=template, decoding=decoding_to_proto(decoding)
            )
            return await self._answers.ask(request)

        reply = await self._with_image(picture, send)
        return AnswerReply(reply.answer, reply.model_fingerprint, _provenance(reply))


class StudentClient(_Client):
    """Answers, versions and training: all at the student's one address."""

    name = "student"

    def __init__(
        self,
        address: str,
        *,
        patience_s: float = PATIENCE_S,
        in_flight: int = IN_FLIGHT,
        notice: Notice = lambda _: None,
    ) -> None:
        super().__init__(address, patience_s=patience_s, in_flight=in_flight, notice=notice)
        channel = self.connection.channel
        self._stub = student_pb2_grpc.StudentServiceStub(channel)
        self._answers: Bulk[student_pb2.AnswerRequest, student_pb2.AnswerResponse] = Bulk(
            self._stub.AnswerStream, student_pb2.AnswerStreamRequest, ANSWER_TIMEOUT_S, address
        )
        self._versions = versions_pb2_grpc.VersionServiceStub(channel)
        self._training = training_pb2_grpc.TrainingServiceStub(channel)
        self._operations = operations_pb2_grpc.OperationsStub(channel)

    def _bulk(self) -> Sequence[Bulk[Any, Any]]:
        return (self._answers,)

    async def answer(
        self,
        picture: Picture,
        question: str,
        template: str = "",
        decoding: Decoding | None = None,
        version: str = "",
        *,
        retry: bool = True,
    ) -> AnswerReply:
        """By the live version, or the one pinned. Without `retry`: a unary call that checks the endpoint, never sampled."""

        async def send(image: types_pb2.Image) -> student_pb2.AnswerResponse:
            request = student_pb2.AnswerRequest(image=image, question=question, template=template, version=version)
            if decoding is not None:
                request.decoding.CopyFrom(decoding_to_proto(decoding))
            if retry:
                return await self._answers.ask(request)
            response: student_pb2.AnswerResponse = await self._stub.Answer(request, timeout=ANSWER_TIMEOUT_S, metadata=(CHECK,))
            return response

        reply = await self._with_image(picture, send, retry=retry)
        return AnswerReply(
            reply.answer,
            reply.version,
            Provenance(finish_reason_from_proto(reply.finish_reason), usage_from_proto(reply.usage)),
        )

    async def pointers(self) -> Pointers:
        request = versions_pb2.ListVersionsRequest()
        reply = await self.connection.call(lambda: self._versions.ListVersions(request, timeout=CONTROL_TIMEOUT_S))
        return Pointers(reply.live, reply.candidate, reply.previous)

    async def version(self, name: str) -> StudentVersion:
        """Raises NotFound."""
        request = versions_pb2.GetVersionRequest(name=name)
        reply = await self.connection.call(lambda: self._versions.GetVersion(request, timeout=CONTROL_TIMEOUT_S))
        is_loaded = reply.version.state == versions_pb2.VERSION_STATE_AVAILABLE
        contract = reply.version.contract
        return StudentVersion(reply.version.name, is_loaded, reply.version.weights_sha256, contract.system_prompt)

    async def load(self, name: str) -> None:
        """Beside the live version, as the candidate. Raises WrongState or InvalidInput for bad weights."""
        request = versions_pb2.LoadVersionRequest(name=name)
        await self.connection.call(lambda: self._versions.LoadVersion(request, timeout=CONTROL_TIMEOUT_S))

    async def promote(self, name: str, expected_live: str) -> Pointers:
        """Raises Conflict where another version than `expected_live` is live."""
        request = versions_pb2.PromoteVersionRequest(name=name, expected_live=expected_live)
        reply = await self.connection.call(lambda: self._versions.PromoteVersion(request, timeout=CONTROL_TIMEOUT_S))
        return Pointers(reply.live, previous=reply.previous)

    async def rollback(self) -> Pointers:
        """Not retried: a second roll-back would undo the first."""
        request = versions_pb2.RollbackVersionRequest()
        reply = await self.connection.call_once(lambda: self._versions.RollbackVersion(request, timeout=CONTROL_TIMEOUT_S))
        return Pointers(reply.live, previous=reply.previous)

    async def upload(self, parts: Callable[[], AsyncIterable[training_pb2.UploadDatasetRequest]]) -> str:
        """Sends a data set, from its beginning at each try; its name. Raises what `parts` raises."""
        failures: list[MpaError] = []
        try:
            reply = await self.connection.call(
                lambda: self._training.UploadDataset(_each(parts(), failures), timeout=CONTROL_TIMEOUT_S)
            )
        except asyncio.CancelledError:  # gRPC's word for an iterator of requests that failed
            if failures:
                raise failures[0] from None
            raise
        return str(reply.dataset)

    async def train(self, request: training_pb2.TrainRequest) -> TrainingState:
        """Raises Conflict while another training runs."""
        return _training_state(await self.connection.call(lambda: self._training.Train(request, timeout=CONTROL_TIMEOUT_S)))

    async def training(self, operation: str) -> TrainingState:
        """Raises NotFound."""
        request = operations_pb2.GetOperationRequest(name=operation)
        return _training_state(
            await self.connection.call(lambda: self._operations.GetOperation(request, timeout=ANSWER_TIMEOUT_S))
        )


def _provenance(reply: teacher_pb2.AnnotateResponse | teacher_pb2.TeacherServiceAnswerResponse) -> Provenance:
    return Provenance(finish_reason_from_proto(reply.finish_reason), usage_from_proto(reply.usage), reply.system_fingerprint)


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
