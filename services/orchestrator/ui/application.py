"""The explorer's routes. Each view is a page and, under the same name with ".json", a document."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from services.core.errors import MpaError
from services.orchestrator.ui import rendering
from services.orchestrator.ui.choosing import read_wish
from services.orchestrator.ui.guard import Guard
from services.orchestrator.ui.library import Library
from services.orchestrator.ui.live_run import LiveRun, events, read_live_run
from services.orchestrator.ui.overview import read_overview
from services.orchestrator.ui.record_detail import read_record, read_refused_image
from services.orchestrator.ui.record_list import read_records
from services.orchestrator.ui.run_list import Document, RunLines, RunList
from services.orchestrator.ui.thumbnails import thumbnail
from services.orchestrator.ui.upkeep import Upkeep
from services.rpc.status import http_status

VIEWS_AT_ONCE = 8
"""Threads that answer requests. Each opens the run's files, so their caches are bounded, too."""
DAY_S = 24 * 3600

logger = logging.getLogger(__name__)


class View(Protocol):
    """The content of a page."""

    def document(self) -> Document: ...


def explorer(
    root: Path,
    host: str = "127.0.0.1",
    *,
    is_loopback: bool,
    is_leaving: Callable[[], bool] = lambda: False,
) -> ASGIApp:
    """The application on `host`. `is_leaving`: open streams have to end.

    Raises InvalidInput if `root` is itself a run.
    """
    upkeep = Upkeep()
    views = Views(Library(root, upkeep), is_leaving)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = VIEWS_AT_ONCE
        upkeep.start()
        yield
        await anyio.to_thread.run_sync(upkeep.close)

    routes = [
        Route("/", lambda _: RedirectResponse("/runs")),
        *_both("/runs", views.runs),
        *_both("/runs/{run}/overview", views.overview),
        *_both("/runs/{run}/live", views.live),
        Route("/runs/{run}/live/events", views.live_events),
        *_both("/runs/{run}/records", views.records),
        *_both("/runs/{run}/records/{key}", views.record),
        *_both("/runs/{run}/refused", views.refused),
        Route("/runs/{run}/images/{image}/{size}", views.image),
        Mount("/static", StaticFiles(packages=[("services.orchestrator.ui", "static")])),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={MpaError: _explain, HTTPException: _explain, Exception: _apologise},
    )
    return Guard(app, _refuse, host, is_loopback=is_loopback)


class Views:
    """The endpoints. They run in threads: each opens the run's files, and closes them again."""

    def __init__(self, library: Library, is_leaving: Callable[[], bool]) -> None:
        self._library = library
        self._is_leaving = is_leaving
        self._lines = RunLines()

    def runs(self, request: Request) -> Response:
        lines = tuple(map(self._lines.line, self._library.folders()))
        return _shown(request, "runs.html", RunList(str(self._library.root), lines))

    def overview(self, request: Request) -> Response:
        with self._library.open(request.path_params["run"]) as opened:
            return _shown(request, "overview.html", read_overview(opened))

    def live(self, request: Request) -> Response:
        return _shown(request, "live.html", self._live_run(request.path_params["run"]))

    def live_events(self, request: Request) -> Response:
        read = partial(self._live_run, request.path_params["run"])
        self._library.folder(request.path_params["run"])
        return StreamingResponse(
            events(read, self._is_leaving),
            media_type="text/event-stream",
            headers=rendering.NOT_KEPT,
        )

    def _live_run(self, name: str) -> LiveRun:
        with self._library.open(name) as opened:
            return read_live_run(opened)

    def records(self, request: Request) -> Response:
        wish = read_wish(request.query_params)
        with self._library.open(request.path_params["run"]) as opened:
            return _shown(request, "records.html", read_records(opened, wish))

    def record(self, request: Request) -> Response:
        wish = read_wish(request.query_params)
        with self._library.open(request.path_params["run"]) as opened:
            found = read_record(opened, request.path_params["key"], wish)
            return _shown(request, "record.html", found)

    def refused(self, request: Request) -> Response:
        path = request.query_params.get("path", "")
        with self._library.open(request.path_params["run"]) as opened:
            return _shown(request, "record.html", read_refused_image(opened, path))

    def image(self, request: Request) -> Response:
        asked = request.path_params
        with self._library.open(asked["run"]) as opened:
            try:
                jpeg = thumbnail(self._library, opened, asked["image"], asked["size"])
            except MpaError as error:
                logger.info("%s", error)
                return _no_image(error)
        kept = {"Cache-Control": f"private, max-age={DAY_S}"}
        return Response(jpeg, media_type="image/jpeg", headers=kept)


def _both(path: str, endpoint: Callable[[Request], Response]) -> list[Route]:
    """The routes of a view's document and of its page. The first one that fits is taken."""
    return [Route(f"{path}.json", endpoint), Route(path, endpoint)]


def _shown(request: Request, template: str, view: View) -> Response:
    if rendering.is_json(request):
        return JSONResponse(view.document(), headers=rendering.NOT_KEPT)
    return rendering.page(template, {"view": view, "document": rendering.document_link(request)})


def _no_image(error: MpaError) -> Response:
    """A picture that says so: an <img> shows it whatever the status."""
    picture = Path(__file__).with_name("static") / "no-image.svg"
    return Response(
        picture.read_bytes(),
        http_status(error),
        media_type="image/svg+xml",
        headers=rendering.NOT_KEPT,
    )


def _trouble(request: Request, status: int, sentence: str) -> Response:
    if rendering.is_json(request):
        return JSONResponse({"error": sentence}, status, headers=rendering.NOT_KEPT)
    return rendering.page("trouble.html", {"status": status, "sentence": sentence}, status)


async def _explain(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        sentences = {404: "There is no such page.", 405: "Pages can only be read here."}
        return _trouble(request, error.status_code, sentences.get(error.status_code, error.detail))
    assert isinstance(error, MpaError)
    return _trouble(request, http_status(error), str(error))


async def _apologise(request: Request, _: Exception) -> Response:
    return _trouble(
        request, 500, "The explorer has failed on this page; its terminal shows the error."
    )


async def _refuse(request: Request) -> Response:
    return _trouble(
        request,
        403,
        "This address is not the explorer's own: open the one that mpa-orch ui has printed. "
        "If it listens on all addresses, use the number of one, or give the name as --host.",
    )
