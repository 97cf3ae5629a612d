"""Servers without a service: a gRPC servicer and an HTTP route that wait in a thread.

Argument: SECONDS. The reply to the first request names the ports.
"""

from __future__ import annotations

import asyncio
import base64
import sys
import threading
import time
from typing import Any

import grpc
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.processes import Handle, answer_requests
from protos.mpa.v1 import student_pb2, student_pb2_grpc
from services.orchestrator.endpoints.processes import free_ports
from services.rpc.limits import MESSAGE_OPTIONS


class Bare(student_pb2_grpc.StudentServiceServicer):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def Answer(
        self, request: student_pb2.AnswerRequest, context: Any
    ) -> student_pb2.AnswerResponse:
        await asyncio.to_thread(time.sleep, self._seconds)
        return student_pb2.AnswerResponse()

    async def answer_http(self, request: Request) -> JSONResponse:
        base64.b64decode((await request.json())["image"])
        await asyncio.to_thread(time.sleep, self._seconds)
        return JSONResponse({"answer": ""})


async def serve(bare: Bare, grpc_port: int, http_port: int, up: threading.Event) -> None:
    server = grpc.aio.server(options=MESSAGE_OPTIONS)
    student_pb2_grpc.add_StudentServiceServicer_to_server(bare, server)
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    await server.start()
    app = Starlette(routes=[Route("/v1/vqa", bare.answer_http, methods=["POST"])])
    up.set()
    await uvicorn.Server(uvicorn.Config(app, port=http_port, log_level="warning")).serve()


def load(seconds: float) -> Handle:
    grpc_port, http_port = free_ports(2)
    up = threading.Event()
    threading.Thread(
        target=lambda: asyncio.run(serve(Bare(seconds), grpc_port, http_port, up)), daemon=True
    ).start()
    up.wait()
    return lambda request: {"grpc_port": grpc_port, "http_port": http_port}


if __name__ == "__main__":
    answer_requests(lambda: load(float(sys.argv[1])))
