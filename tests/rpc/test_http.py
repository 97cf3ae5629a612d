"""What the HTTP faces share, through a real ASGI application."""

import httpx
from starlette.applications import Starlette
from starlette.routing import Route

from protos.mpa.v1 import student_pb2
from services.rpc.http import endpoint


async def test_a_field_that_is_empty_is_there_all_the_same():
    """A student may answer with nothing: `answer` is then "", not missing."""

    async def nothing(_) -> student_pb2.AnswerResponse:
        return student_pb2.AnswerResponse(version="v1")

    app = Starlette(routes=[Route("/", endpoint(nothing))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        reply = (await client.get("/")).json()
    assert (reply["answer"], reply["version"]) == ("", "v1")
