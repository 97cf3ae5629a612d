"""A dead engine is started again, unless its service is shutting down."""

import asyncio
import os
import signal
import sys

import pytest

from services.core.errors import Unavailable
from services.rpc.lifecycle import Lifecycle, ListenSettings
from services.rpc.server import GrpcServer
from tests.waiting import until

GUARD_S = 90.0


class Engine:
    """An engine that dies on command and restarts at once."""

    def __init__(self):
        self.deaths, self.revived = asyncio.Queue(), asyncio.Semaphore(0)
        self.holds_revival = None

    async def load(self):
        pass

    async def death(self):
        reason = await self.deaths.get()
        if isinstance(reason, Exception):
            raise reason
        return reason

    async def revive(self):
        if self.holds_revival is not None:
            await self.holds_revival.wait()
        self.revived.release()


@pytest.fixture
async def served():
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: None)
    engine, server = Engine(), GrpcServer(lambda server: None, [])
    lifecycle = Lifecycle("student", server, ListenSettings(lame_duck_s=0))
    await lifecycle.start(engine.load, engine.death, engine.revive)
    await until(lambda: lifecycle.ready)
    yield lifecycle, engine
    await lifecycle.stop()
    signal.signal(signal.SIGTERM, before)


async def test_an_engine_that_dies_is_started_again(served):
    lifecycle, engine = served
    engine.deaths.put_nowait("killed")
    await engine.revived.acquire()
    await until(lambda: lifecycle.ready)


@pytest.mark.parametrize("reason", ["", RuntimeError("the watch has failed")])
async def test_an_engine_that_nobody_can_watch_counts_as_dead(served, reason):
    lifecycle, engine = served
    engine.holds_revival = asyncio.Event()
    engine.deaths.put_nowait(reason)
    await until(lambda: not lifecycle.ready)
    with pytest.raises(Unavailable, match="answer now"):
        lifecycle.require_loaded()
    engine.holds_revival.set()
    await engine.revived.acquire()
    await until(lambda: lifecycle.ready)


async def test_not_while_the_service_is_about_to_leave(served):
    lifecycle, engine = served
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: not lifecycle.ready)
    engine.deaths.put_nowait("told to end, too")
    await until(engine.deaths.empty)
    for _ in range(100):
        await asyncio.sleep(0)
    assert engine.revived.locked(), "nothing was started"


SUPERVISOR = """
import subprocess, sys
sys.exit(subprocess.run([sys.executable, "-c", sys.argv[1]]).returncode)
"""
WORKER = """
import asyncio
from starlette.applications import Starlette
from services.core.errors import WrongState
from services.rpc.http.entrance import Entrance
from services.rpc.http.limits import HttpLimits
from services.rpc.http.server import HttpServer
from services.rpc.lifecycle import Lifecycle, ListenSettings
from services.rpc.load_shedding import LoadShedder
from services.rpc.server import GrpcServer

async def start():
    http = HttpServer(Entrance(HttpLimits(), LoadShedder()), Starlette())
    lifecycle = Lifecycle("student", GrpcServer(lambda server: None, []), ListenSettings(), http)
    await lifecycle.start(None, None, None)

asyncio.run(start())
"""


async def test_a_worker_without_uvicorn_is_not_restarted_for_ever():
    """Its supervisor, found by its command line, ends with it."""
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISOR, WORKER, "bentoml serve", stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(GUARD_S):
        said = (await supervisor.stderr.read()).decode()
        assert await supervisor.wait() == -signal.SIGTERM
    assert "cannot start: SIGTERM is handled by" in said
    assert "gRPC on" not in said, "nobody is to be listened to"
