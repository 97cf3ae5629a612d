"""The teacher's HTTP face: POST /v1/annotate with an image (multipart or base64 JSON) and, if wanted, a task."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from protos.mpa.v1 import teacher_pb2, types_pb2
from services.rpc.http import endpoint, read_form


async def annotate(request: Request) -> teacher_pb2.AnnotateResponse:
    image, fields = await read_form(request)
    message = teacher_pb2.AnnotateRequest(image=types_pb2.Image(data=image), task=fields.get("task", "vqa"))
    response: teacher_pb2.AnnotateResponse = await request.app.state.servicer.Annotate(message)
    return response


app = Starlette(routes=[Route("/annotate", endpoint(annotate), methods=["POST"])])
