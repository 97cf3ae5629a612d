"""HTTP endpoint of the student: POST /v1/vqa, and OpenAI's chat completions and models.

A request to /v1/vqa is multipart (image, question, version) or JSON with a base64 image. The page
on which people try the student is in tryout/.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route

from protos.mpa.v1 import student_pb2, types_pb2
from services.rpc.http.completions.images import ImageUrls
from services.rpc.http.completions.routes import routes
from services.rpc.http.endpoint import endpoint
from services.rpc.http.form import Form
from services.student.completions import StudentCompletions
from services.student.servicers import StudentServicer


def answer_request(form: Form) -> student_pb2.AnswerRequest:
    image, fields = form
    return student_pb2.AnswerRequest(
        image=types_pb2.Image(data=image),
        question=fields.get("question", ""),
        version=fields.get("version", ""),
    )


vqa = endpoint(answer_request, lambda request: request.app.state.servicer.Answer)


def student_app(
    servicer: StudentServicer,
    completions: StudentCompletions,
    image_urls: ImageUrls,
    tryout: Sequence[BaseRoute] = (),
) -> Starlette:
    """The student's routes. `tryout`: those of the page for people."""
    app = Starlette(
        routes=[
            Route("/v1/vqa", vqa, methods=["POST"]),
            *routes(completions, image_urls),
            *tryout,
        ]
    )
    app.state.servicer = servicer
    return app
