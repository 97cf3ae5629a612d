"""A student with the fake engine in this process, over real HTTP and gRPC on loopback ports."""

import asyncio
import base64
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette

from services.rpc.http.completions.images import ImageUrls
from services.rpc.http.entrance import Entrance
from services.rpc.http.limits import HttpLimits
from services.rpc.http.server import HttpServer
from services.rpc.images import ImageReceiver
from services.rpc.load_shedding import LoadShedder
from services.student.completions import StudentCompletions
from services.student.http import student_app
from services.student.manifest import Origin
from services.student.servicers import StudentServicer
from services.student.tryout.desk import TryoutDesk
from services.student.tryout.routes import tryout_routes
from services.student.tryout.second_opinion import SecondOpinion
from tests.pictures import png
from tests.serving import StudentPeer, fake_checkpoint, serving_student
from tests.waiting import until

IMAGE = png("red")


def data_url(image=IMAGE, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"


def turn(text="what color is it?", *images, role="user"):
    """A message with parts: text, then images."""
    parts = [{"type": "image_url", "image_url": {"url": image}} for image in images]
    return {"role": role, "content": [{"type": "text", "text": text}, *parts]}


def asked(text="what color is it?", **fields):
    """The body of a request about IMAGE."""
    return {"model": "live", "messages": [turn(text, data_url())], **fields}


def publish(student, folder, **model):
    """A further version of a student's store, which is not loaded."""
    contract = student.store.manifest("v1").contract
    origin = Origin(parent="v1", canaries_by="fake")
    return student.store.add(fake_checkpoint(folder, **model), origin, contract)


@dataclass
class HttpStudent:
    """A student and its HTTP server."""

    url: str
    app: Starlette
    peer: StudentPeer
    entrance: Entrance
    server: uvicorn.Server

    @property
    def student(self):
        return self.peer.student


@asynccontextmanager
async def student_over_http(settings, shedder=None, access=None, **limits):
    shedder = shedder or LoadShedder(settings.rpc.load)
    images = ImageReceiver(settings.rpc.images)
    entrance = Entrance(HttpLimits(**limits), shedder, access)
    async with serving_student(settings) as peer:
        completions = StudentCompletions(
            lambda: peer.student, images, shedder, settings.served_names
        )
        teacher = SecondOpinion(settings.try_teacher) if settings.try_teacher else None
        desk = TryoutDesk(lambda: peer.student, completions, images, teacher)
        app = student_app(
            StudentServicer(lambda: peer.student, images, shedder),
            completions,
            ImageUrls(settings.image_urls),
            tryout_routes(desk) if settings.has_try_page else (),
        )
        app.state.entrance = entrance
        config = uvicorn.Config(Starlette(), log_config=None, server_header=False)
        config.load()
        server = uvicorn.Server(config)
        HttpServer(entrance, app).adopt(server, 20)
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started)
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            yield HttpStudent(url, app, peer, entrance, server)
        finally:
            server.should_exit = True
            await asyncio.wait_for(serving, 60)
            if teacher is not None:
                await teacher.close()
