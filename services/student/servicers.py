"""mpa.v1 StudentService, VersionService and TrainingService over a HostedStudent."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, TypeAlias, cast

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc

from protos.mpa.v1 import (
    student_pb2,
    student_pb2_grpc,
    training_pb2,
    training_pb2_grpc,
    versions_pb2,
    versions_pb2_grpc,
)
from services.core.contract import Contract
from services.core.errors import InvalidInput
from services.core.presets import Hyperparameters
from services.rpc.images import ImageReceiver
from services.rpc.limits import check_prompt, check_question, check_template
from services.rpc.load_shedding import LoadShedder
from services.rpc.streams import answer_out_of_order
from services.rpc.wire import (
    CHECK,
    contract_from_proto,
    decoding_from_proto,
    finish_reason_to_proto,
    usage_to_proto,
)
from services.student.datasets import TrainingSample
from services.student.operations import OperationsServicer, ReadyStudent, describe_operation
from services.student.plan import Plan
from services.student.student import HostedStudent
from services.student.version_messages import describe

SERVICES = (
    student_pb2.DESCRIPTOR.services_by_name["StudentService"].full_name,
    versions_pb2.DESCRIPTOR.services_by_name["VersionService"].full_name,
    training_pb2.DESCRIPTOR.services_by_name["TrainingService"].full_name,
    "google.longrunning.Operations",
)
_MAX_LORA_RANK = 1024

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class StudentServicer(student_pb2_grpc.StudentServiceServicer):
    """Answers. `student` raises Unavailable until a version is loaded."""

    def __init__(
        self, student: ReadyStudent, images: ImageReceiver, shedder: LoadShedder | None = None
    ) -> None:
        self._student = student
        self._images = images
        self._shedder = shedder or LoadShedder()

    async def Answer(
        self, request: student_pb2.AnswerRequest, context: Context | None = None
    ) -> student_pb2.AnswerResponse:
        """Answers for every face: unary, each item of a stream, HTTP."""
        student = self._student()
        # Before the request counts as under way: a swap in place says nothing of the engine's pace.
        await student.versions.pass_gate()
        with self._shedder.admit(context.time_remaining() if context else None):
            return await self._answer(student, request, context)

    async def _answer(
        self, student: HostedStudent, request: student_pb2.AnswerRequest, context: Context | None
    ) -> student_pb2.AnswerResponse:
        question = check_question(request.question)
        template = check_template(request.template, "template")
        decoding = decoding_from_proto(request.decoding) if request.HasField("decoding") else None
        image = await self._images.receive(request.image)
        answered = await student.answer(
            image, question, template=template, decoding=decoding, version=request.version
        )
        reply = answered.reply
        if _is_of_a_user(request, context):
            student.samples.offer(image, question, reply.text, answered.version)
        return student_pb2.AnswerResponse(
            answer=reply.text,
            version=answered.version,
            usage=usage_to_proto(reply.usage),
            finish_reason=finish_reason_to_proto(reply.finish_reason),
        )

    async def AnswerStream(
        self, requests: AsyncIterator[student_pb2.AnswerStreamRequest], context: Context
    ) -> AsyncIterator[student_pb2.AnswerStreamResponse]:
        async def answer(request: student_pb2.AnswerRequest) -> student_pb2.AnswerResponse:
            return await self.Answer(request, context)

        async for reply in answer_out_of_order(requests, answer, student_pb2.AnswerStreamResponse):
            yield reply


def _is_of_a_user(request: student_pb2.AnswerRequest, context: Context | None) -> bool:
    """The live version is asked in its own words. An orchestrator names a version, and marks what only checks the endpoint."""
    return (
        not request.version
        and not request.template
        and CHECK not in (context.invocation_metadata() or () if context else ())
    )


class VersionServicer(versions_pb2_grpc.VersionServiceServicer):
    """Versions and their pointers."""

    def __init__(self, student: ReadyStudent) -> None:
        self._student = student

    async def ListVersions(
        self, request: versions_pb2.ListVersionsRequest, context: Context
    ) -> versions_pb2.ListVersionsResponse:
        student = self._student()
        pointers = student.versions.pointers
        response = versions_pb2.ListVersionsResponse(
            versions=[await describe(student, name) for name in student.store.names()],
            live=pointers.live,
            candidate=pointers.candidate,
            previous=pointers.previous,
            preset=student.preset,
        )
        try:
            plan = await student.versions.plan(pointers.live)
        except InvalidInput as error:  # the live version is damaged on disk
            response.swap_reason = str(error)
        else:
            response.swap_way, response.swap_reason = _way(plan), plan.reason
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
        student = self._student()
        await student.versions.load(request.name)
        return versions_pb2.LoadVersionResponse(version=await describe(student, request.name))

    async def PromoteVersion(
        self, request: versions_pb2.PromoteVersionRequest, context: Context
    ) -> versions_pb2.PromoteVersionResponse:
        pointers, plan = await self._student().versions.promote(request.name, request.expected_live)
        return versions_pb2.PromoteVersionResponse(
            live=pointers.live, previous=pointers.previous, swap_way=_way(plan)
        )

    async def RollbackVersion(
        self, request: versions_pb2.RollbackVersionRequest, context: Context
    ) -> versions_pb2.RollbackVersionResponse:
        pointers, plan = await self._student().versions.rollback()
        return versions_pb2.RollbackVersionResponse(
            live=pointers.live, previous=pointers.previous, swap_way=_way(plan)
        )


def _way(plan: Plan) -> versions_pb2.SwapWay:
    return cast(versions_pb2.SwapWay, versions_pb2.SwapWay.Value(f"SWAP_WAY_{plan.way.name}"))


class TrainingServicer(training_pb2_grpc.TrainingServiceServicer):
    """Datasets in, trainings started."""

    def __init__(self, student: ReadyStudent) -> None:
        self._student = student

    async def UploadDataset(
        self, requests: AsyncIterator[training_pb2.UploadDatasetRequest], context: Context
    ) -> training_pb2.UploadDatasetResponse:
        uploads = self._student().uploads
        in_thread = functools.partial(asyncio.get_running_loop().run_in_executor, uploads.threads)
        upload = uploads.begin()
        try:
            async for request in requests:
                part = request.WhichOneof("part")
                if part == "image":
                    await in_thread(upload.add_image, request.image)
                elif part == "sample":
                    sent = request.sample
                    sample = TrainingSample(sent.image_sha256, sent.question, sent.answer)
                    if upload.is_ready_for(sample.image_sha256):
                        upload.add_sample(sample)
                    else:
                        await in_thread(upload.add_sample, sample)
            # To gRPC, a caller who breaks off looks like one who has sent everything; the cancellation comes a moment later.
            await in_thread(upload.flush)
            name = await in_thread(upload.finish)
            return training_pb2.UploadDatasetResponse(
                dataset=name, samples=upload.samples, images=upload.images
            )
        finally:
            await in_thread(upload.end)

    async def Train(
        self, request: training_pb2.TrainRequest, context: Context
    ) -> operations_pb2.Operation:
        student = self._student()
        base = request.base_version or student.versions.pointers.live
        name = await student.train(
            request.request_id,
            request.dataset,
            base,
            request.run,
            request.recipe,
            _contract(request, student.store.manifest(base).contract),
            _hyperparameters(request.hyperparameters, student.hyperparameters),
        )
        return describe_operation(student, name)


def _contract(request: training_pb2.TrainRequest, base: Contract) -> Contract:
    """Contract of the version to be made. Raises InvalidInput: a text that can't be taken, or two training templates."""
    asked, template = (
        request.contract,
        check_template(request.training_template, "training_template"),
    )
    check_template(asked.answer_template, "contract.answer_template")
    check_template(asked.training_template, "contract.training_template")
    check_prompt(asked.system_prompt, "contract.system_prompt")
    if asked.training_template and template not in ("", asked.training_template):
        raise InvalidInput(
            "training_template and contract.training_template differ: give one of them",
            field="training_template",
        )
    contract = contract_from_proto(asked, base)
    return replace(contract, training_template=template) if template else contract


def _hyperparameters(
    message: training_pb2.Hyperparameters, preset: Hyperparameters
) -> Hyperparameters:
    given = {field.name: value for field, value in message.ListFields()}
    chosen = replace(preset, **given)
    faults = {
        "learning_rate": not 0 < chosen.learning_rate < 1,
        "batch_size": not 1 <= chosen.batch_size <= 4096,
        "epochs": not 1 <= chosen.epochs <= 1000,
        "warmup_ratio": not 0 <= chosen.warmup_ratio < 1,
        "weight_decay": not 0 <= chosen.weight_decay < 1,
        "loss": chosen.loss not in ("token", "sample"),
        "lora_rank": not 0 <= chosen.lora_rank <= _MAX_LORA_RANK,
        "lora_alpha": not 0 < chosen.lora_alpha < math.inf,
    }
    for name, wrong in faults.items():
        if wrong:
            raise InvalidInput(
                f"{name} is {getattr(chosen, name)!r}: that can't be trained with",
                field=f"hyperparameters.{name}",
            )
    return chosen


def register(student: ReadyStudent, servicer: StudentServicer, server: grpc.aio.Server) -> None:
    """Adds the four services to a server."""
    student_pb2_grpc.add_StudentServiceServicer_to_server(servicer, server)
    versions_pb2_grpc.add_VersionServiceServicer_to_server(VersionServicer(student), server)
    training_pb2_grpc.add_TrainingServiceServicer_to_server(TrainingServicer(student), server)
    operations_pb2_grpc.add_OperationsServicer_to_server(OperationsServicer(student), server)
