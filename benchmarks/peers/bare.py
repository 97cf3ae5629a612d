"""Servers without a service: a gRPC servicer and HTTP routes that wait in a thread.

A request to this peer sets the seconds that they wait, and its reply names the ports. The route of
chat completions reads a body, and its reply is as long as ours.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from typing import Any

import grpc
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.processes import Handle, answer_requests
from protos.mpa.v1 import student_pb2, student_pb2_grpc
from services.engines.model import Reply
from services.orchestrator.endpoints.processes import free_ports
from services.rpc.http.completions.replies import CompletionShape
from services.rpc.limits import MESSAGE_OPTIONS
from services.rpc.request_id import request_id


class Bare(student_pb2_grpc.StudentServiceServicer):
    def __init__(self) -> None:
        self.seconds = 0.0
        shape = CompletionShape(f"chatcmpl-{request_id(None)}", "v1")
        reply = Reply("yes", prompt_tokens=100, completion_tokens=2)
        self._completion = json.dumps(shape.completion([reply], is_scored=False)).encode()

    async def Answer(
        self, request: student_pb2.AnswerRequest, context: Any
    ) -> student_pb2.AnswerResponse:
        await asyncio.to_thread(time.sleep, self.seconds)
        return student_pb2.AnswerResponse()

    async def answer_http(self, request: Request) -> JSONResponse:
        base64.b64decode((await request.json())["image"])
        await asyncio.to_thread(time.sleep, self.seconds)
        return JSONResponse({"answer": ""})

    async def chat(self, request: Request) -> Response:
        await request.body()
        await asyncio.to_thread(time.sleep, self.seconds)
        return Response(self._completion, media_type="application/json")


async def serve(bare: Bare, grpc_port: int, http: uvicorn.Config, up: threading.Event) -> None:
    server = grpc.aio.server(options=MESSAGE_OPTIONS)
    student_pb2_grpc.add_StudentServiceServicer_to_server(bare, server)
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    await server.start()
    up.set()
    await uvicorn.Server(http).serve()


def load() -> Handle:
    bare = Bare()
    grpc_port, http_port = free_ports(2)
    app = Starlette(
        routes=[
            Route("/v1/vqa", bare.answer_http, methods=["POST"]),
            Route("/v1/chat/completions", bare.chat, methods=["POST"]),
        ]
    )
    http = uvicorn.Config(app, port=http_port, log_level="warning", access_log=False)
    up = threading.Event()

    def run() -> None:
        with asyncio.Runner(loop_factory=http.get_loop_factory()) as runner:
            runner.run(serve(bare, grpc_port, http, up))

    threading.Thread(target=run, daemon=True).start()
    up.wait()

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        bare.seconds = request["seconds"]
        return {"grpc_port": grpc_port, "http_port": http_port}

    return handle


if __name__ == "__main__":
    answer_requests(load)
