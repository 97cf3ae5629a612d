"""The HTTP face on a real port, with a servicer that answers on demand, and raw callers."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from protos.mpa.v1 import student_pb2
from services import metrics
from services.rpc.http.endpoint import endpoint
from services.rpc.http.entrance import Entrance
from services.rpc.http.limits import HttpLimits
from services.rpc.http.server import HttpServer
from services.rpc.load_shedding import LoadShedder
from services.student.http import answer_request
from tests.waiting import until


class Servicer:
    """Answers once `open` is set, and counts requests."""

    def __init__(self, shedder):
        self.shedder = shedder
        self.open = asyncio.Event()
        self.open.set()
        self.begun = self.answered = self.cancelled = 0
        self.failure = None

    async def Answer(self, request, context):
        with self.shedder.admit(context.time_remaining()):
            return await self._answer(request)

    async def _answer(self, request):
        self.begun += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        self.answered += 1
        return student_pb2.AnswerResponse(answer=request.question, version="v1")


@dataclass
class HttpPeer:
    """A server in this process, on its own port."""

    server: uvicorn.Server
    http: HttpServer
    entrance: Entrance
    servicer: Servicer
    port: int
    callers: list = field(default_factory=list)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self):
        return len(self.server.server_state.connections)

    async def connect(self, *sent):
        """A connection after `sent` is written to it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.callers.append(writer)
        for each in sent:
            writer.write(each)
            await writer.drain()
        return reader, writer

    async def exchange(self, *sent):
        """All bytes that are returned until the connection ends."""
        reader, _ = await self.connect(*sent)
        return await asyncio.wait_for(reader.read(), 60)


@asynccontextmanager
async def http_peer(shedder=None, grace_s=20, servicer=Servicer, access=None, **limits):
    shedder = shedder or LoadShedder()
    servicer, entrance = servicer(shedder), Entrance(HttpLimits(**limits), shedder, access)

    async def long(_):
        await servicer.open.wait()
        return PlainTextResponse("x" * 2**24)

    vqa = endpoint(answer_request, lambda request: request.app.state.servicer.Answer)
    inner = Starlette(routes=[Route("/v1/vqa", vqa, methods=["POST"])])
    inner.state.servicer, inner.state.entrance = servicer, entrance
    app = Starlette(
        routes=[
            Route("/livez", lambda _: PlainTextResponse("ok")),
            Route("/readyz", long),
            Route("/healthz", lambda _: 1 / 0),
        ]
    )
    config = uvicorn.Config(app, log_config=None, server_header=False)
    config.load()
    server, http = uvicorn.Server(config), HttpServer(entrance, inner)
    http.adopt(server, grace_s)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    peer = HttpPeer(server, http, entrance, servicer, listener.getsockname()[1])
    metrics.before_reading(servicer.open.wait)
    try:
        yield peer
    finally:
        metrics._readers.remove(servicer.open.wait)
        servicer.open.set()
        for writer in peer.callers:
            writer.close()
        server.should_exit = True
        await asyncio.wait_for(serving, 60)


def post(body, content_type="application/json", *headers, length=None):
    head = [
        "POST /v1/vqa HTTP/1.1",
        "host: x",
        f"content-type: {content_type}",
        f"content-length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def get(path, *headers):
    return (
        "\r\n".join([f"GET {path} HTTP/1.1", "host: x", *headers]).encode("latin-1") + b"\r\n\r\n"
    )


async def read_reply(reader):
    """Status, headers and body of one reply of known length."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(first.split()[1]), headers, body


def reason(body):
    return json.loads(body)["error"]["reason"]
