"""HTTP endpoint of the teacher: POST /v1/annotate.

A request is multipart or JSON with a base64 image. Its task is optional.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Route

from protos.mpa.v1 import teacher_pb2, types_pb2
from services.rpc.http.endpoint import endpoint
from services.rpc.http.form import Form


def annotate_request(form: Form) -> teacher_pb2.AnnotateRequest:
    image, fields = form
    return teacher_pb2.AnnotateRequest(
        image=types_pb2.Image(data=image), task=fields.get("task", "vqa")
    )


annotate = endpoint(annotate_request, lambda request: request.app.state.servicer.Annotate)
app = Starlette(routes=[Route("/v1/annotate", annotate, methods=["POST"])])
