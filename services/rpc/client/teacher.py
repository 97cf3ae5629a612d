"""Client of the teacher: annotations, answers, and the model that gives them."""

from __future__ import annotations

import grpc

from protos.mpa.v1 import teacher_pb2, teacher_pb2_grpc, types_pb2
from services.core.decoding import Decoding
from services.core.provenance import Provenance
from services.core.usage import Tariff
from services.rpc.client.client import Client
from services.rpc.client.replies import (
    AnnotationReply,
    AnswerReply,
    Picture,
    TeacherModel,
)
from services.rpc.peer import ANSWER_TIMEOUT_S, Peer, Streamed
from services.rpc.wire import decoding_to_proto, finish_reason_from_proto, usage_from_proto

_stub = teacher_pb2_grpc.TeacherServiceStub
_ANNOTATIONS = Streamed(
    lambda channel: _stub(channel).AnnotateStream, teacher_pb2.AnnotateStreamRequest
)
_ANSWERS = Streamed(
    lambda channel: _stub(channel).AnswerStream, teacher_pb2.TeacherServiceAnswerStreamRequest
)


class TeacherClient(Client):
    """Annotations and answers of the teacher at one address."""

    name = "teacher"

    async def model(self) -> TeacherModel | None:
        """The model that answers; None if the service is too old to report it."""

        async def send() -> teacher_pb2.GetModelResponse | None:
            try:
                peer = await self.connection.peers.any()
                response: teacher_pb2.GetModelResponse = await peer.stub(_stub).GetModel(
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
        self.connection.note_accepted(reply.max_in_flight)
        bill = reply.tariff
        tariff = (
            Tariff(bill.input_usd, bill.output_usd, bill.image_tokens)
            if reply.HasField("tariff")
            else None
        )
        name = f"{reply.model or reply.preset} ({reply.engine})"
        return TeacherModel(
            reply.model_fingerprint, reply.serving_sha256, name, tariff, reply.pixel_budget
        )

    async def annotate(
        self, picture: Picture, task: str, prompt: str, decoding: Decoding, *, guided: bool = False
    ) -> AnnotationReply:
        async def send(peer: Peer, image: types_pb2.Image) -> teacher_pb2.AnnotateResponse:
            request = teacher_pb2.AnnotateRequest(
                image=image,
                task=task,
                prompt=prompt,
                decoding=decoding_to_proto(decoding),
                guided=guided,
            )
            reply: teacher_pb2.AnnotateResponse = await peer.streams(_ANNOTATIONS).ask(request)
            return reply

        reply = await self._with_image(picture, send)
        return AnnotationReply(
            reply.text,
            reply.question,
            reply.answer,
            reply.rejection,
            reply.model_fingerprint,
            _provenance(reply),
        )

    async def answer(
        self, picture: Picture, question: str, template: str, decoding: Decoding
    ) -> AnswerReply:
        async def send(
            peer: Peer, image: types_pb2.Image
        ) -> teacher_pb2.TeacherServiceAnswerResponse:
            request = teacher_pb2.TeacherServiceAnswerRequest(
                image=image,
                question=question,
                template=template,
                decoding=decoding_to_proto(decoding),
            )
            reply: teacher_pb2.TeacherServiceAnswerResponse = await peer.streams(_ANSWERS).ask(
                request
            )
            return reply

        reply = await self._with_image(picture, send)
        return AnswerReply(reply.answer, reply.model_fingerprint, _provenance(reply))


def _provenance(
    reply: teacher_pb2.AnnotateResponse | teacher_pb2.TeacherServiceAnswerResponse,
) -> Provenance:
    return Provenance(
        finish_reason_from_proto(reply.finish_reason),
        usage_from_proto(reply.usage),
        reply.system_fingerprint,
    )
