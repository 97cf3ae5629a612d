"""Programs in processes of their own."""

import asyncio
import subprocess
import sys
import tempfile
from collections import Counter

import grpc
import psutil
import pytest
import uvloop

from services.rpc.server import GrpcServer
from services.student import programs

CLIENT = """
import asyncio, sys
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

async def ask_for_ever(stub):
    while True:
        await stub.Check(health_pb2.HealthCheckRequest())

async def main():
    async with grpc.aio.insecure_channel(sys.argv[1]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        await asyncio.gather(*(ask_for_ever(stub) for _ in range(16)))

asyncio.run(main())
"""


async def _run(module: str, *arguments: str, devices: str = "") -> tuple[int, str]:
    with tempfile.TemporaryFile() as output:
        code = await programs.run(module, arguments, devices, output)
        output.seek(0)
        return code, output.read().decode()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Function that writes a module for the programs."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(text: str) -> str:
        (tmp_path / "some_program.py").write_text(text)
        return "some_program"

    return make


async def test_code_and_all_that_it_said(program):
    module = program(
        "import os, sys\n"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\n"
        "sys.exit('no ' + sys.argv[1])"
    )
    assert await _run(module, "model", devices="2,3") == (1, "2,3\nno model\n")


async def test_a_program_that_dies_of_a_signal(program):
    code, _ = await _run(program("import os; os.kill(os.getpid(), 9)"))
    assert code == -9


async def test_cancelled_it_ends_the_program_first(program, tmp_path):
    module = program(
        "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    )
    told = tmp_path / "pid"
    running = asyncio.create_task(_run(module, str(told)))
    while not (told.is_file() and told.read_text()):  # noqa: ASYNC110  # another process writes it
        await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not psutil.pid_exists(int(told.read_text()))


@pytest.mark.slow
def test_on_uvloop_amid_grpc_traffic_none_crashes_before_it_begins(program):
    module = program("")

    async def start_many() -> Counter[int]:
        server = GrpcServer(lambda _: None, ())
        port = await server.start("127.0.0.1", 0)
        client = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", CLIENT, f"127.0.0.1:{port}"], stderr=subprocess.DEVNULL
        )
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await channel.channel_ready()
            codes: Counter[int] = Counter()
            for _ in range(50):
                codes.update(
                    code for code, _ in await asyncio.gather(*(_run(module) for _ in range(8)))
                )
            return codes
        finally:
            client.kill()
            client.wait()
            await server.stop(0)

    assert uvloop.run(start_many()) == {0: 400}
