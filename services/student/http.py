"""The production endpoint over HTTP: POST /v1/vqa, multipart (image, question, version) or JSON with a base64 image."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from protos.mpa.v1 import student_pb2, types_pb2
from services.rpc.http import endpoint, read_form


async def vqa(request: Request) -> student_pb2.AnswerResponse:
    image, fields = await read_form(request)
    message = student_pb2.AnswerRequest(
        image=types_pb2.Image(data=image), question=fields.get("question", ""), version=fields.get("version", "")
    )
    response: student_pb2.AnswerResponse = await request.app.state.servicer.Answer(message)
    return response


app = Starlette(routes=[Route("/vqa", endpoint(vqa), methods=["POST"])])
