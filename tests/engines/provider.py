"""A scripted provider on a loopback port: chat completions, models, files and batches."""

import asyncio
import hashlib
import json
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.waiting import until

KEY = "sk-proj-very-secret-0123456789"
MODEL = "gpt-4o-2024-11-20"


def completion(
    text,
    finish_reason="stop",
    prompt_tokens=1000,
    completion_tokens=10,
    cached_tokens=0,
    refusal=None,
):
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": MODEL,
        "system_fingerprint": "fp_a1b2c3",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": text, "refusal": refusal},
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": cached_tokens},
        },
    }


def error(status, message="no", code=None, kind="invalid_request_error", headers=None):
    return JSONResponse(
        {"error": {"message": message, "type": kind, "code": code, "param": None}}, status, headers
    )


def text_of(body):
    """The text part of the user turn."""
    return next(part["text"] for part in body["messages"][-1]["content"] if part["type"] == "text")


def say(body):
    """Default reply: an annotation if one is wanted, else a word that depends on the question."""
    text = text_of(body)
    word = ("red", "green", "blue")[hashlib.sha256(text.encode()).digest()[0] % 3]
    if "Question:" in text:
        return f"Question: what is number {body['seed'] % 1000}?\nAnswer: {word}"
    return word


@dataclass
class Provider:
    """A provider. After its script, every completion succeeds with the reply of `say`."""

    key: str = KEY
    models: tuple = (MODEL,)
    has_models: bool = True
    may_look_up: bool = True
    has_batches: bool = True
    script: deque = field(default_factory=deque)
    """For each next completion: a Response, a dict, seconds or an Event to wait for, or "cut"."""
    answer: Callable[[Any], str] = say
    requests: list = field(default_factory=list)
    times: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    calls: Counter = field(default_factory=Counter)
    files: dict = field(default_factory=dict)
    uploads: int = 0
    batches: dict = field(default_factory=dict)
    url: str = ""

    def app(self):
        return Starlette(
            routes=[
                Route("/v1/models", self.list_models),
                Route("/v1/models/{name:path}", self.get_model),
                Route("/v1/chat/completions", self.complete, methods=["POST"]),
                Route("/v1/files", self.upload, methods=["POST"]),
                Route("/v1/files/{name}/content", self.download),
                Route("/v1/batches", self.create, methods=["POST"]),
                Route("/v1/batches", self.list_batches),
                Route("/v1/batches/{name}", self.batch),
            ]
        )

    def refused(self, request):
        self.calls[f"{request.method} {request.url.path}"] += 1
        if request.headers.get("authorization") != f"Bearer {self.key}":
            given = request.headers.get("authorization", "")
            return error(
                401,
                f"Incorrect API key provided: {given[7:]}. You can find yours ...",
                "invalid_api_key",
            )
        return None

    async def list_models(self, request):
        if not self.has_models:
            return JSONResponse({"detail": "Not Found"}, 404)
        return self.refused(request) or JSONResponse(
            {"data": [{"id": name} for name in self.models]}
        )

    async def get_model(self, request):
        if not self.has_models:
            return JSONResponse({"detail": "Not Found"}, 404)
        if not self.may_look_up:
            return error(
                403,
                "You have insufficient permissions. Missing scopes: api.model.read.",
                "missing_scope",
            )
        name = request.path_params["name"]
        found = {"id": name} if name in self.models else None
        return (
            self.refused(request)
            or (found and JSONResponse(found))
            or error(404, f"The model '{name}' does not exist", "model_not_found")
        )

    async def complete(self, request):
        if refused := self.refused(request):
            return refused
        body = json.loads(await request.body())
        self.requests.append(body)
        self.times.append(time.monotonic())
        self.headers.append(dict(request.headers))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self.follow(self.script.popleft() if self.script else None, body)
        finally:
            self.under_way -= 1

    async def follow(self, step, body):
        if isinstance(step, asyncio.Event):
            await step.wait()
            step = None
        if isinstance(step, (int, float)):
            await asyncio.sleep(step)
            step = None
        if step == "cut":
            return Cut()
        if isinstance(step, Response):
            return step
        return JSONResponse(step or completion(self.answer(body)))

    async def upload(self, request):
        if not self.has_batches:
            return JSONResponse({"detail": "Not Found"}, 404)
        if refused := self.refused(request):
            return refused
        async with request.form() as form:
            assert form["purpose"] == "batch"
            data = await form["file"].read()
        name = f"file-{self.uploads}"
        self.uploads += 1
        self.files[name] = data.decode()
        return JSONResponse({"id": name})

    async def create(self, request):
        if refused := self.refused(request):
            return refused
        wanted = json.loads(await request.body())
        assert wanted["endpoint"] == "/v1/chat/completions"
        name = f"batch_{len(self.batches)}"
        self.batches[name] = {
            "id": name,
            "status": "in_progress",
            "input_file_id": wanted["input_file_id"],
        }
        return JSONResponse(self.batches[name])

    async def list_batches(self, request):
        return self.refused(request) or JSONResponse({"data": list(self.batches.values())})

    async def batch(self, request):
        if refused := self.refused(request):
            return refused
        found = self.batches.get(request.path_params["name"])
        return JSONResponse(found) if found else error(404, "no such batch")

    def finish(self, name, status="completed", outcomes=lambda number, body: None):
        """Ends a batch. `outcomes(number, body)`: result fields, None (success) or "expired"."""
        found = self.batches[name]
        lines, failures = [], []
        for number, line in enumerate(self.files[found["input_file_id"]].splitlines()):
            request = json.loads(line)
            result = outcomes(number, request["body"])
            if result == "expired":
                result = {
                    "response": None,
                    "error": {"code": "batch_expired", "message": "too late"},
                }
                failures.append(json.dumps({"custom_id": request["custom_id"], **result}))
                continue
            body = completion(self.answer(request["body"]))
            result = result or {"response": {"status_code": 200, "body": body}, "error": None}
            lines.append(json.dumps({"custom_id": request["custom_id"], **result}))
        self.files[f"{name}-output"] = "\n".join(lines) + "\n"
        self.files[f"{name}-errors"] = "\n".join(failures)
        found |= {
            "status": status,
            "output_file_id": f"{name}-output",
            "error_file_id": f"{name}-errors" if failures else None,
        }

    async def download(self, request):
        return self.refused(request) or PlainTextResponse(self.files[request.path_params["name"]])


class Cut(Response):
    """A response that promises more than it sends, then hangs up."""

    async def __call__(self, scope, receive, send):
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"1000")],
            }
        )
        await send({"type": "http.response.body", "body": b'{"choices": [', "more_body": True})
        raise ConnectionError("cut")


class _Server(uvicorn.Server):
    def install_signal_handlers(self):
        pass

    @contextmanager
    def capture_signals(self):
        yield


@asynccontextmanager
async def providing(**settings):
    """Runs a provider on the test's loop."""
    provider = Provider(**settings)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        provider.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        server = _Server(uvicorn.Config(provider.app(), log_level="critical", lifespan="off"))
        serving = asyncio.create_task(server.serve([listening]))
        await until(lambda: server.started)
        try:
            yield provider
        finally:
            server.should_exit = server.force_exit = True
            await serving


@contextmanager
def providing_beside(**settings):
    """Runs a provider on its own thread, for tests that block on other processes."""
    provider = Provider(**settings)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        provider.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        server = _Server(uvicorn.Config(provider.app(), log_level="critical", lifespan="off"))
        thread = Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        try:
            yield provider
        finally:
            server.should_exit = server.force_exit = True
            thread.join()
