"""POST /v1/chat/completions, GET /v1/models, /v1/models/{model} and /openapi.json."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from python_multipart.multipart import parse_options_header
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from services.core.errors import InvalidInput, NotFound
from services.rpc.access.caller import account
from services.rpc.http.completions.body import read_body
from services.rpc.http.completions.images import ImageUrls
from services.rpc.http.completions.openapi import openapi
from services.rpc.http.completions.replies import (
    Completed,
    CompletionShape,
    ServedModel,
    model_list,
)
from services.rpc.http.completions.request import ChatQuestion, chat_question, image_url
from services.rpc.http.completions.stream import EventStream
from services.rpc.http.endpoint import HttpCall, refusal, timed, unless_gone
from services.rpc.http.entrance import Entrance
from services.rpc.http.form import MOST_JSON_BYTES, counted_body, read_json
from services.rpc.request_id import current_request_id

VERSION = "x-mpa-version"
"""Header with the version that answers."""
IGNORED = "x-mpa-ignored"
"""Header with the kinds of messages that are no part of the prompt."""
MOST_MARKS = 20_000
"""Most commas and brackets of a conversation: some thousand turns."""
_PARAMS = {
    "image": "messages",
    "question": "messages",
    "decoding.max_new_tokens": "max_tokens",
    "decoding.temperature": "temperature",
    "decoding.top_p": "top_p",
}
"""Names in a request of our own fields."""


class Listening(Protocol):
    """A caller who hears an answer while it is written."""

    def began(self, version: str) -> None: ...

    def heard(self, index: int, text: str) -> None: ...


class Completions(Protocol):
    """The models behind the routes."""

    async def complete(
        self, asked: ChatQuestion, image: bytes, time_left_s: float, listening: Listening | None
    ) -> Completed:
        """Answers a question. Raises MpaError."""

    async def models(self) -> Sequence[ServedModel]:
        """Names that requests may give. Raises Unavailable."""


def routes(completions: Completions, images: ImageUrls) -> list[BaseRoute]:
    return [
        Route("/v1/chat/completions", ChatRoute(completions, images), methods=["POST"]),
        Route("/v1/models", _models(completions), methods=["GET"]),
        Route("/v1/models/{model:path}", _model(completions), methods=["GET"]),
        Route("/openapi.json", _document, methods=["GET"]),
    ]


class ChatRoute:
    """Answers a conversation, whole or as a stream. Every error becomes a reply."""

    def __init__(self, completions: Completions, images: ImageUrls) -> None:
        self._completions = completions
        self._images = images

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        stream: EventStream | None = None
        try:
            entrance: Entrance = request.app.state.entrance
            caller = account(request.client.host if request.client else "")
            _require_json(request)
            async with (
                timed(request) as call,
                counted_body(request, entrance.uploads, MOST_JSON_BYTES) as body,
            ):
                chat = read_body(await read_json(body, MOST_MARKS))
                asked = chat_question(chat)
                async with self._images.received(
                    image_url(chat), entrance.uploads, caller
                ) as image:
                    del chat  # a data URI is larger than the image
                    with entrance.requests.held(caller):
                        if asked.is_streamed:
                            stream = EventStream(send, asked, _id())
                        response = await self._answer(request, call, asked, image, stream)
        except Exception as error:
            response = refusal(_renamed(error))
            if stream is not None and stream.has_begun:
                await stream.fail(bytes(response.body))
                return
        if response is not None:
            await response(scope, receive, send)

    async def _answer(
        self,
        request: Request,
        call: HttpCall,
        asked: ChatQuestion,
        image: bytes,
        stream: EventStream | None,
    ) -> Response | None:
        """The response; None if it was streamed."""
        answering = self._completions.complete(asked, image, call.time_remaining(), stream)

        def headers(version: str) -> Mapping[str, str]:
            ignored = {IGNORED: ", ".join(asked.ignored)} if asked.ignored else {}
            return {VERSION: version, **ignored}

        if stream is not None:
            await unless_gone(request.receive, stream.run(answering, headers))
            await stream.close()
            return None
        completed = await unless_gone(request.receive, answering)
        shape = CompletionShape(_id(), completed.version)
        content = shape.completion(completed.replies, is_scored=asked.alternatives is not None)
        return _json(content, headers(completed.version))


def _models(completions: Completions) -> Endpoint:
    async def respond(request: Request) -> Response:
        try:
            return _json(model_list(await completions.models()))
        except Exception as error:
            return refusal(error)

    return respond


def _model(completions: Completions) -> Endpoint:
    async def respond(request: Request) -> Response:
        name = request.path_params["model"]
        try:
            found = {model.name: model for model in await completions.models()}
            if name not in found:
                raise no_model(name, list(found))
            return _json(found[name].json)
        except Exception as error:
            return refusal(error)

    return respond


async def _document(request: Request) -> Response:
    return _json(openapi())


Endpoint = Callable[[Request], Awaitable[Response]]


def no_model(name: str, names: Sequence[str]) -> NotFound:
    """The error for a model that is not served."""
    return NotFound(
        f"there is no model {name!r}: there are {', '.join(names) or 'none'}",
        reason="MODEL_NOT_FOUND",
    )


def _require_json(request: Request) -> None:
    kind, _ = parse_options_header(request.headers.get("content-type"))
    if kind != b"application/json":
        given = request.headers.get("content-type", "")
        raise InvalidInput(
            f"the content-type is {given[:64]!r}: send application/json", field="content-type"
        )


def _renamed(error: Exception) -> Exception:
    """The same error, with the name that its field has in a request."""
    if isinstance(error, InvalidInput):
        error.field = _PARAMS.get(error.field, error.field)
    return error


def _id() -> str:
    return f"chatcmpl-{current_request_id.get()}"


def _json(content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, 200, headers, "application/json")
