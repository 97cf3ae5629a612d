"""mpa.v1 StudentService and VersionService on top of a HostedStudent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, TypeAlias, cast

import grpc
from google.longrunning import operations_pb2_grpc

from protos.mpa.v1 import (
    student_pb2,
    student_pb2_grpc,
    training_pb2,
    training_pb2_grpc,
    versions_pb2,
    versions_pb2_grpc,
)
from services.core.errors import InvalidInput
from services.rpc.images import ImageReceiver
from services.rpc.limits import check_question, check_template
from services.rpc.load_shedding import LoadShedder
from services.rpc.logs import conversation
from services.rpc.request_id import note
from services.rpc.streams import answer_out_of_order
from services.rpc.wire import CHECK, decoding_from_proto, finish_reason_to_proto, usage_to_proto
from services.student.endpoint import StudentEndpoint
from services.student.follower import FollowingStudent
from services.student.operations import OperationsServicer, ReadyStudent
from services.student.publication import file_parts
from services.student.student import HostedStudent
from services.student.training_servicer import TrainingServicer
from services.student.version_messages import (
    describe,
    describe_all,
    describe_follower,
    way_to_proto,
)

SERVICES = (
    student_pb2.DESCRIPTOR.services_by_name["StudentService"].full_name,
    versions_pb2.DESCRIPTOR.services_by_name["VersionService"].full_name,
    training_pb2.DESCRIPTOR.services_by_name["TrainingService"].full_name,
    "google.longrunning.Operations",
)

CONTROL = SERVICES[1:]
"""Services that have a port of their own if CONTROL_PORT is set."""
OWNERS = SERVICES[2:]
"""Services of a store's owner alone: a follower never reports them as SERVING."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
ReadyEndpoint = Callable[[], StudentEndpoint]


class StudentServicer(student_pb2_grpc.StudentServiceServicer):
    """Servicer of answers. `student` raises Unavailable until a version is loaded."""

    def __init__(
        self, student: ReadyEndpoint, images: ImageReceiver, shedder: LoadShedder | None = None
    ) -> None:
        self._student = student
        self._images = images
        self._shedder = shedder or LoadShedder()

    @property
    def max_in_flight(self) -> int:
        """Most requests that are accepted at once."""
        return self._shedder.most

    async def Answer(
        self, request: student_pb2.AnswerRequest, context: Context | None = None
    ) -> student_pb2.AnswerResponse:
        """Answer one question, for unary calls, each item of a stream, and HTTP."""
        student = self._student()
        # The request is not under way yet: a swap in place doesn't show the engine's pace.
        await student.versions.pass_gate()
        with self._shedder.admit(context.time_remaining() if context else None):
            return await self._answer(student, request, context)

    async def _answer(
        self, student: StudentEndpoint, request: student_pb2.AnswerRequest, context: Context | None
    ) -> student_pb2.AnswerResponse:
        question = check_question(request.question)
        template = check_template(request.template, "template")
        decoding = decoding_from_proto(request.decoding) if request.HasField("decoding") else None
        image = await self._images.receive(request.image)
        answered = await student.answer(
            image,
            question,
            template=template,
            decoding=decoding,
            version=request.version,
            scored=request.scored,
        )
        reply = answered.reply
        note("version", answered.version)
        conversation(question, reply.text)
        if _is_of_a_user(request, context):
            student.samples.offer(image, question, reply.text, answered.version)
        return student_pb2.AnswerResponse(
            answer=reply.text,
            version=answered.version,
            usage=usage_to_proto(reply.usage),
            finish_reason=finish_reason_to_proto(reply.finish_reason),
            logprob=reply.known_logprob if request.scored else None,
        )

    async def AnswerStream(
        self, requests: AsyncIterator[student_pb2.AnswerStreamRequest], context: Context
    ) -> AsyncIterator[student_pb2.AnswerStreamResponse]:
        async def answer(request: student_pb2.AnswerRequest) -> student_pb2.AnswerResponse:
            return await self.Answer(request, context)

        async for reply in answer_out_of_order(requests, answer, student_pb2.AnswerStreamResponse):
            yield reply


def _is_of_a_user(request: student_pb2.AnswerRequest, context: Context | None) -> bool:
    """Whether a request is a user's: to the live version, with its own template.

    Orchestrators name a version, or mark requests that only check the endpoint.
    """
    return (
        not request.version
        and not request.template
        and CHECK not in (context.invocation_metadata() or () if context else ())
    )


class VersionServicer(versions_pb2_grpc.VersionServiceServicer):
    """Servicer of versions and their pointers."""

    def __init__(self, student: ReadyEndpoint, owner: ReadyStudent, max_in_flight: int) -> None:
        self._student = student
        self._owner = owner
        self._max_in_flight = max_in_flight

    async def ListVersions(
        self, request: versions_pb2.ListVersionsRequest, context: Context
    ) -> versions_pb2.ListVersionsResponse:
        student = self._student()
        pointers = student.versions.pointers
        response = versions_pb2.ListVersionsResponse(
            versions=await describe_all(student),
            live=pointers.live,
            candidate=pointers.candidate,
            previous=pointers.previous,
            preset=student.preset.name,
            followers=map(describe_follower, await student.followers()),
            owner=student.owner,
            max_in_flight=self._max_in_flight,
        )
        try:
            plan = await student.versions.planner.plan(pointers.live)
        except InvalidInput as error:  # the live version is damaged on disk
            response.swap_reason = str(error)
        else:
            response.swap_way = way_to_proto(plan.way)
            response.swap_reason = plan.reason
        return response

    async def GetVersion(
        self, request: versions_pb2.GetVersionRequest, context: Context
    ) -> versions_pb2.GetVersionResponse:
        return versions_pb2.GetVersionResponse(
            version=await describe(self._student(), request.name)
        )

    async def LoadVersion(
        self, request: versions_pb2.LoadVersionRequest, context: Context
    ) -> versions_pb2.LoadVersionResponse:
        student = self._owner()
        await student.versions.load(request.name)
        return versions_pb2.LoadVersionResponse(version=await describe(student, request.name))

    async def PromoteVersion(
        self, request: versions_pb2.PromoteVersionRequest, context: Context
    ) -> versions_pb2.PromoteVersionResponse:
        student = self._owner()
        pointers, plan = await student.promote(request.name, request.expected_live, request.card)
        return versions_pb2.PromoteVersionResponse(
            live=pointers.live,
            previous=pointers.previous,
            swap_way=way_to_proto(plan.way),
            followers=map(describe_follower, await student.followers()),
        )

    async def RollbackVersion(
        self, request: versions_pb2.RollbackVersionRequest, context: Context
    ) -> versions_pb2.RollbackVersionResponse:
        pointers, plan = await self._owner().versions.rollback()
        return versions_pb2.RollbackVersionResponse(
            live=pointers.live, previous=pointers.previous, swap_way=way_to_proto(plan.way)
        )

    async def ExportVersion(
        self, request: versions_pb2.ExportVersionRequest, context: Context
    ) -> AsyncIterator[versions_pb2.ExportVersionResponse]:
        async with aclosing(file_parts(self._student().store, request.name)) as parts:
            async for path, data in parts:
                yield versions_pb2.ExportVersionResponse(path=path, data=data)

    async def DeleteVersion(
        self, request: versions_pb2.DeleteVersionRequest, context: Context
    ) -> versions_pb2.DeleteVersionResponse:
        freed = await self._owner().delete(request.name, unload=request.unload)
        return versions_pb2.DeleteVersionResponse(freed_bytes=freed)


def owner(student: ReadyEndpoint) -> ReadyStudent:
    """The same student, for requests to the owner of a store."""

    def ready() -> HostedStudent:
        found = student()
        if isinstance(found, FollowingStudent):
            raise found.refusal()
        return cast(HostedStudent, found)

    return ready


def register(student: ReadyEndpoint, servicer: StudentServicer, server: grpc.aio.Server) -> None:
    """Add the four services to a server."""
    ours = owner(student)
    student_pb2_grpc.add_StudentServiceServicer_to_server(servicer, server)
    versions = VersionServicer(student, ours, servicer.max_in_flight)
    versions_pb2_grpc.add_VersionServiceServicer_to_server(versions, server)
    training_pb2_grpc.add_TrainingServiceServicer_to_server(TrainingServicer(ours), server)
    operations_pb2_grpc.add_OperationsServicer_to_server(OperationsServicer(ours), server)
