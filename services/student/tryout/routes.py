"""Routes of the page. Its questions are admitted as those of POST /v1/vqa are.

    GET  /try             the page, open to everybody who reaches the service; it has no data
    POST /try/answers     a form (image, question, model); needs a key with the role ask
    POST /try/verdicts    a form (answer, verdict); needs a key with the role ask

Both POST routes reply with JSON, or with a page to a browser without JavaScript.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from services.core.errors import InvalidInput
from services.rpc.access.caller import account
from services.rpc.http.endpoint import refusal, timed, unless_gone
from services.rpc.http.entrance import Entrance
from services.rpc.http.form import counted_body, read_form
from services.rpc.http.origin import require_own_page
from services.rpc.limits import check_question
from services.student.tryout.desk import ALL, Question, TryoutDesk
from services.student.tryout.pages import (
    HEADERS,
    answers_page,
    empty_page,
    judged_page,
    trouble_page,
)

MOST_VERDICT_BYTES = 1024
_STATIC = Path(__file__).with_name("static")

Endpoint = Callable[[Request], Awaitable[Response]]


def tryout_routes(desk: TryoutDesk) -> list[BaseRoute]:
    routes = TryoutRoutes(desk)
    return [
        Route("/try", _page, methods=["GET"]),
        Route("/try/tryout.css", _file("tryout.css"), methods=["GET"]),
        Route("/try/tryout.js", _file("tryout.js"), methods=["GET"]),
        Route("/try/answers", _explained(routes.answers), methods=["POST"]),
        Route("/try/verdicts", _explained(routes.verdicts), methods=["POST"]),
    ]


class TryoutRoutes:
    """The routes that need a key. They raise MpaError."""

    def __init__(self, desk: TryoutDesk) -> None:
        self._desk = desk

    async def answers(self, request: Request) -> Response:
        entrance: Entrance = request.app.state.entrance
        caller = _caller(request)
        async with timed(request) as call, read_form(request, entrance.uploads) as (image, fields):
            text = check_question(fields.get("question", ""))
            asked = Question(image, text, caller, call.time_remaining())
            model = fields.get("model", ALL)
            with entrance.requests.held(caller):
                opinions = await unless_gone(request.receive, self._desk.ask(model, asked))
        if _wants_page(request):
            return answers_page(asked, opinions)
        answers = [opinion.document() for opinion in opinions]
        return _json({"answers": answers, "models": await self._desk.models()})

    async def verdicts(self, request: Request) -> Response:
        fields = await _short_form(request)
        verdict = fields.get("verdict", "")
        shown = await self._desk.judge(fields.get("answer", ""), verdict, _caller(request))
        if _wants_page(request):
            return judged_page(shown, verdict)
        return _json({"verdict": verdict})


async def _page(request: Request) -> Response:
    return empty_page()


def _file(name: str) -> Endpoint:
    async def respond(request: Request) -> Response:
        return FileResponse(_STATIC / name, headers={**HEADERS, "Cache-Control": "no-cache"})

    return respond


def _explained(answer: Endpoint) -> Endpoint:
    """The route for requests of our own page. Every error becomes a reply."""

    async def respond(request: Request) -> Response:
        entrance: Entrance = request.app.state.entrance
        try:
            require_own_page(request.headers, is_guarded=entrance.access.settings.is_guarded)
            return await answer(request)
        except Exception as error:
            refused = refusal(error)
        if not _wants_page(request):
            refused.headers.update(HEADERS)
            return refused
        sentence = str(json.loads(bytes(refused.body))["error"]["message"])
        headers = {
            name: refused.headers[name] for name in ("retry-after",) if name in refused.headers
        }
        return trouble_page(sentence, refused.status_code, headers)

    return respond


async def _short_form(request: Request) -> dict[str, str]:
    """Fields of a form without a file. Raises InvalidInput, Overloaded."""
    entrance: Entrance = request.app.state.entrance
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise InvalidInput(
            f"the content-type is {kind[:64]!r}: send application/x-www-form-urlencoded",
            field="content-type",
        )
    async with counted_body(request, entrance.uploads, MOST_VERDICT_BYTES) as body:
        sent = b"".join([chunk async for chunk in body])
    try:
        return dict(parse_qsl(sent.decode("ascii"), max_num_fields=8))
    except ValueError as error:
        raise InvalidInput(f"the form can't be read: {error}") from error


def _caller(request: Request) -> str:
    return account(request.client.host if request.client else "")


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _json(content: object) -> Response:
    body = json.dumps(content).encode("ascii")
    return Response(body, 200, HEADERS, "application/json")
