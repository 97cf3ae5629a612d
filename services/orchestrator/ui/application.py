"""The explorer's routes. Each view is a page and, under the same name with ".json", a document."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import anyio.to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from services.core.errors import MpaError
from services.core.reviews import checked_review
from services.orchestrator.ui import rendering
from services.orchestrator.ui.choosing import read_wish, record_link, run_link
from services.orchestrator.ui.event_streams import EventStreams
from services.orchestrator.ui.forms import own_address, read_form, remember, reviewer_of, see
from services.orchestrator.ui.guard import Guard
from services.orchestrator.ui.library import Library
from services.orchestrator.ui.live_run import LiveRun, events, read_live_run
from services.orchestrator.ui.overview import read_overview
from services.orchestrator.ui.record_detail import read_record, read_refused_image
from services.orchestrator.ui.record_list import as_ordered, read_records
from services.orchestrator.ui.review_desk import BulkReview, review_choice, review_record
from services.orchestrator.ui.review_summary import read_reviews
from services.orchestrator.ui.run_list import Document, RunLines, RunList
from services.orchestrator.ui.side_by_side import Contrasts, read_sides
from services.orchestrator.ui.thumbnails import thumbnail
from services.orchestrator.ui.upkeep import Upkeep
from services.orchestrator.ui.verdict import read_verdict_page
from services.rpc.http.replies import error_headers
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
        *_both("/compare", views.compare),
        *_both("/runs/{run}/overview", views.overview),
        *_both("/runs/{run}/verdict", views.verdict),
        *_both("/runs/{run}/live", views.live),
        Route("/runs/{run}/live/events", views.live_events),
        *_both("/runs/{run}/records", views.records),
        *_both("/runs/{run}/records/{key}", views.record),
        *_both("/runs/{run}/refused", views.refused),
        *_both("/runs/{run}/reviews", views.reviews),
        Route("/reviewer", views.name_reviewer, methods=["POST"]),
        Route("/runs/{run}/records/{key}/review", views.review, methods=["POST"]),
        Route("/runs/{run}/review", views.review_all, methods=["POST"]),
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
        self._contrasts = Contrasts()
        self._streams = EventStreams()

    def runs(self, request: Request) -> Response:
        lines = tuple(map(self._lines.line, self._library.folders()))
        return _shown(request, "runs.html", RunList(str(self._library.root), lines))

    def compare(self, request: Request) -> Response:
        sides = read_sides(request.query_params)
        with self._library.open(sides.left) as left, self._library.open(sides.right) as right:
            found = self._contrasts.read(left, right, sides)
            return _shown(request, "compare.html", found)

    def overview(self, request: Request) -> Response:
        with self._library.open(request.path_params["run"]) as opened:
            return _shown(request, "overview.html", read_overview(opened))

    def verdict(self, request: Request) -> Response:
        with self._library.open(request.path_params["run"]) as opened:
            found = read_verdict_page(opened, request.query_params)
            return _shown(request, "verdict.html", found)

    def live(self, request: Request) -> Response:
        return _shown(request, "live.html", self._live_run(request.path_params["run"]))

    def live_events(self, request: Request) -> Response:
        read = partial(self._live_run, request.path_params["run"])
        self._library.folder(request.path_params["run"])
        return self._streams.response(events(read, self._is_leaving))

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

    def reviews(self, request: Request) -> Response:
        with self._library.open(request.path_params["run"]) as opened:
            return _shown(request, "reviews.html", read_reviews(opened))

    async def name_reviewer(self, request: Request) -> Response:
        form = await read_form(request)
        reviewer = checked_review(form.get("reviewer", ""), "skip").reviewer
        return remember(see(own_address(form.get("back", ""))), reviewer)

    async def review(self, request: Request) -> Response:
        form = await read_form(request)
        return see(await run_in_threadpool(self._review, request, form))

    def _review(self, request: Request, form: Mapping[str, str]) -> str:
        """Address of the page after it: the list, or the next record of the list."""
        wish = read_wish(request.query_params)
        run, key = request.path_params["run"], request.path_params["key"]
        with self._library.open(run) as opened:
            found = read_record(opened, key, wish)
            row = found.entry.annotation
            assert row is not None
            verdict, correction = form.get("verdict", ""), form.get("correction", "")
            review_record(opened, row, reviewer_of(request), verdict, correction)
        if form.get("back") == "list":
            return run_link(run, f"records{wish.query}#r-{key}")
        following = found.after
        if following is None:
            return run_link(run, f"records/{key}{replace(wish, after='').query}#reviews")
        place = (following.image, following.number, following.attempt)
        return record_link(run, *place, wish)

    async def review_all(self, request: Request) -> Response:
        form = await read_form(request)
        return see(await run_in_threadpool(self._review_all, request, form))

    def _review_all(self, request: Request, form: Mapping[str, str]) -> str:
        wish = read_wish(request.query_params)
        run = request.path_params["run"]
        confirmed = form.get("number", "") if form.get("sure") == "yes" else ""
        bulk = BulkReview(reviewer_of(request), form.get("verdict", ""), confirmed)
        with self._library.open(run) as opened:
            review_choice(opened, as_ordered(opened, wish), bulk)
        return run_link(run, f"records{replace(wish, after='').query}")

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
    content = {
        "view": view,
        "document": rendering.document_link(request),
        "address": rendering.own_link(request),
        "reviewer": reviewer_of(request),
    }
    return rendering.page(template, content)


def _no_image(error: MpaError) -> Response:
    """A picture that says so: an <img> shows it whatever the status."""
    picture = Path(__file__).with_name("static") / "no-image.svg"
    return Response(
        picture.read_bytes(),
        http_status(error),
        media_type="image/svg+xml",
        headers=rendering.NOT_KEPT,
    )


def _trouble(
    request: Request, status: int, sentence: str, headers: Mapping[str, str] = MappingProxyType({})
) -> Response:
    if rendering.is_json(request):
        response: Response = JSONResponse({"error": sentence}, status, headers=rendering.NOT_KEPT)
    else:
        content = {"status": status, "sentence": sentence}
        response = rendering.page("trouble.html", content, status)
    response.headers.update(headers)
    return response


async def _explain(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        sentences = {404: "There is no such page.", 405: "This page can only be read."}
        return _trouble(request, error.status_code, sentences.get(error.status_code, error.detail))
    assert isinstance(error, MpaError)
    return _trouble(request, http_status(error), str(error), error_headers(error))


async def _apologise(request: Request, _: Exception) -> Response:
    return _trouble(
        request, 500, "The explorer has failed on this page; its terminal shows the error."
    )


async def _refuse(request: Request, reason: str) -> Response:
    return _trouble(request, 403, reason)
