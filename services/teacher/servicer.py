"""mpa.v1.TeacherService on top of a HostedTeacher."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any, TypeAlias

import grpc

from protos.mpa.v1 import teacher_pb2 as pb
from protos.mpa.v1 import teacher_pb2_grpc
from services import metrics
from services.core.annotation import Annotation
from services.core.decoding import Decoding
from services.engines.teacher import HostedTeacher, find_task
from services.rpc.images import ImageReceiver
from services.rpc.limits import check_prompt, check_question, check_template
from services.rpc.load_shedding import LoadShedder
from services.rpc.logs import conversation
from services.rpc.streams import answer_out_of_order
from services.rpc.wire import decoding_from_proto, finish_reason_to_proto, usage_to_proto

SERVICE = pb.DESCRIPTOR.services_by_name["TeacherService"].full_name
ANNOTATION_DECODING = Decoding(max_new_tokens=128)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class TeacherServicer(teacher_pb2_grpc.TeacherServiceServicer):
    """Servicer of the teacher. `teacher` raises Unavailable until the model is loaded."""

    def __init__(
        self,
        teacher: Callable[[], HostedTeacher],
        images: ImageReceiver,
        shedder: LoadShedder | None = None,
    ) -> None:
        self._teacher = teacher
        self._images = images
        self._shedder = shedder or LoadShedder()

    async def GetModel(
        self, request: pb.GetModelRequest, context: Context | None = None
    ) -> pb.GetModelResponse:
        teacher = self._teacher()
        serving = teacher.serving
        response = pb.GetModelResponse(
            model_fingerprint=teacher.fingerprint,
            serving_sha256=serving.sha256,
            engine=serving.engine,
            preset=serving.preset,
            model=serving.model,
            pixel_budget=serving.pixel_budget,
            max_in_flight=self._shedder.most,
        )
        if (tariff := serving.tariff) is not None:
            response.tariff.CopyFrom(pb.Tariff(**asdict(tariff)))
        return response

    async def Annotate(
        self, request: pb.AnnotateRequest, context: Context | None = None
    ) -> pb.AnnotateResponse:
        """Annotate one image, for unary calls, each item of a stream, and HTTP."""
        teacher = self._teacher()
        with self._shedder.admit(context.time_remaining() if context else None):
            return await self._annotate(teacher, request)

    async def _annotate(
        self, teacher: HostedTeacher, request: pb.AnnotateRequest
    ) -> pb.AnnotateResponse:
        task = find_task(request.task)
        prompt = check_prompt(request.prompt, "prompt")
        image = await self._images.receive(request.image)
        decoding = decoding_from_proto(request.decoding, ANNOTATION_DECODING)
        annotated = await teacher.annotate(image, task, prompt, decoding, guided=request.guided)
        metrics.replied(annotated.reply.usage)
        conversation(task.name, annotated.reply.text)
        response = pb.AnnotateResponse(
            text=annotated.reply.text,
            model_fingerprint=teacher.fingerprint,
            usage=usage_to_proto(annotated.reply.usage),
            finish_reason=finish_reason_to_proto(annotated.reply.finish_reason),
            system_fingerprint=annotated.reply.system_fingerprint,
        )
        if isinstance(annotated.outcome, Annotation):
            response.question = annotated.outcome.question
            response.answer = annotated.outcome.answer
        else:
            response.rejection = annotated.outcome
        return response

    async def AnnotateStream(
        self, requests: AsyncIterator[pb.AnnotateStreamRequest], context: Context
    ) -> AsyncIterator[pb.AnnotateStreamResponse]:
        async def annotate(request: pb.AnnotateRequest) -> pb.AnnotateResponse:
            return await self.Annotate(request, context)

        async for reply in answer_out_of_order(requests, annotate, pb.AnnotateStreamResponse):
            yield reply

    async def Answer(
        self, request: pb.TeacherServiceAnswerRequest, context: Context | None = None
    ) -> pb.TeacherServiceAnswerResponse:
        """Answer one question, for unary calls and each item of a stream."""
        teacher = self._teacher()
        with self._shedder.admit(context.time_remaining() if context else None):
            return await self._answer(teacher, request)

    async def _answer(
        self, teacher: HostedTeacher, request: pb.TeacherServiceAnswerRequest
    ) -> pb.TeacherServiceAnswerResponse:
        question = check_question(request.question)
        template = check_template(request.template, "template")
        image = await self._images.receive(request.image)
        reply = await teacher.answer(
            image, question, template, decoding_from_proto(request.decoding)
        )
        metrics.replied(reply.usage)
        conversation(question, reply.text)
        return pb.TeacherServiceAnswerResponse(
            answer=reply.text,
            model_fingerprint=teacher.fingerprint,
            usage=usage_to_proto(reply.usage),
            finish_reason=finish_reason_to_proto(reply.finish_reason),
            system_fingerprint=reply.system_fingerprint,
        )

    async def AnswerStream(
        self, requests: AsyncIterator[pb.TeacherServiceAnswerStreamRequest], context: Context
    ) -> AsyncIterator[pb.TeacherServiceAnswerStreamResponse]:
        async def answer(
            request: pb.TeacherServiceAnswerRequest,
        ) -> pb.TeacherServiceAnswerResponse:
            return await self.Answer(request, context)

        async for reply in answer_out_of_order(
            requests, answer, pb.TeacherServiceAnswerStreamResponse
        ):
            yield reply
