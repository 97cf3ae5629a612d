"""The measured processes: our services, and peers that do the same work without us.

A peer is a program of benchmarks/peers. It reads one JSON request per line and writes one JSON
reply per line. So both sides stay loaded while they take turns, and loading is not measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import httpx
import psutil

from benchmarks.folders import ROOT
from services.engines.settings import EngineSettings
from services.environment import Environment
from services.orchestrator.endpoints.processes import bento_command, free_ports, service_environment

One = TypeVar("One")
Other = TypeVar("Other")
REPLY_BYTES = 2**24
"""Largest reply of a peer."""
START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 40.0
REST_S = 1.5
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_WORKER_MULTIPROCESSING_METHOD": "spawn",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "TOKENIZERS_PARALLELISM": "false",
}


def computing(threads: int) -> dict[str, str]:
    """Environment of every computing process, ours or not. Its idle threads sleep."""
    return {**QUIET, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}


def threads_for(model: str) -> int:
    """Threads of a process that computes alone: one for a small model, otherwise all cores."""
    return 1 if model == "bundled" else len(os.sched_getaffinity(0))


Ports = tuple[int, int]
"""Ports of HTTP and gRPC."""


@dataclass(frozen=True, slots=True)
class Service:
    """One of our services, ready to answer."""

    pid: int
    grpc_port: int
    http_port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def memory(self) -> int:
        """Bytes resident in the service's processes, its workers and engines."""
        top = psutil.Process(self.pid)
        return sum(_resident(process) for process in (top, *top.children(recursive=True)))


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


@asynccontextmanager
async def serving(
    role: str,
    folder: Path,
    threads: int,
    **settings: str | float | Path,
) -> AsyncIterator[Service]:
    """Starts a service in `folder`, at free ports; `settings` become MPA_<ROLE>_<NAME>."""
    http_port, grpc_port = free_ports(2)
    async with serving_at((http_port, grpc_port), role, folder, threads, settings) as service:
        yield service


@asynccontextmanager
async def serving_at(
    ports: Ports,
    role: str,
    folder: Path,
    threads: int,
    settings: Mapping[str, str | float | Path],
) -> AsyncIterator[Service]:
    """The same at given ports."""
    http_port, grpc_port = ports
    prefix = f"MPA_{role.upper()}_"
    own = {
        "THREADS": threads,
        **({"STORE": folder / "store"} if role == "student" else {}),
        **settings,
    }
    environment = {
        **service_environment(role, grpc_port, folder / f"bentoml-{role}"),
        **computing(threads),
        **{prefix + name.upper(): str(value) for name, value in own.items()},
    }
    async with started(
        bento_command(role, http_port), environment, folder / f"{role}.log"
    ) as process:
        service = Service(process.pid, grpc_port, http_port)
        await ready(f"{service.url}/readyz", process, folder / f"{role}.log")
        yield service


@asynccontextmanager
async def vllm_serve(
    checkpoint: Path, folder: Path, threads: int, arguments: Mapping[str, str]
) -> AsyncIterator[str]:
    """Starts `vllm serve` and yields its address. A flag among the arguments has the value ""."""
    (port,) = free_ports(1)
    options = [word for name, value in arguments.items() for word in (f"--{name}", value) if word]
    # The module of `vllm serve`; the command itself needs a package that the CPU build lacks.
    server = ["vllm.entrypoints.openai.api_server", "--model", str(checkpoint)]
    command = [sys.executable, "-m", *server, "--port", str(port)]
    log = folder / "vllm-serve.log"
    async with started(
        [*command, "--host", "127.0.0.1", *options], {**os.environ, **computing(threads)}, log
    ) as process:
        url = f"http://127.0.0.1:{port}"
        await ready(f"{url}/health", process, log)
        yield url


def student_settings() -> EngineSettings:
    """Engine settings of the student, by the variables that its service reads, too."""
    return EngineSettings.from_environment(Environment("MPA_STUDENT_", os.environ))


@asynccontextmanager
async def side_by_side(
    one: AbstractAsyncContextManager[One], other: AbstractAsyncContextManager[Other]
) -> AsyncIterator[tuple[One, Other]]:
    """Starts two processes at the same time; both are ended if one can't start."""
    async with AsyncExitStack() as stack:
        starting = asyncio.create_task(stack.enter_async_context(one))
        try:
            second = await stack.enter_async_context(other)
        finally:
            first = await starting
        yield first, second


async def rest() -> None:
    """Waits until a peer that has finished holds no core, which the other side would pay for.

    vLLM's processes look out for more work for a second.
    """
    await asyncio.sleep(REST_S)


class Peer:
    """A process that does one request after another."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, **request: Any) -> dict[str, Any]:
        """The reply, after a rest. Raises RuntimeError: the peer has died."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer has ended:\n{end_of(self._log)}")
        reply: dict[str, Any] = json.loads(line)
        await rest()
        return reply


@asynccontextmanager
async def peer(module: str, folder: Path, threads: int, *arguments: str) -> AsyncIterator[Peer]:
    """Starts a peer and waits until it has loaded its model."""
    log = folder / f"{module}.log"
    command = [sys.executable, "-m", f"benchmarks.peers.{module}", *arguments]
    async with started(command, {**os.environ, **computing(threads)}, log, talks=True) as process:
        found = Peer(process, log)
        await found.ask(ready=True)
        yield found


Handle: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]


def answer_requests(load: Callable[[], Handle]) -> None:
    """Runs a peer's loop once its model is loaded. Output of libraries is sent to the log."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    handle = load()
    for line in sys.stdin:
        request = json.loads(line)
        reply = {"ready": True} if "ready" in request else handle(request)
        print(json.dumps(reply), file=replies, flush=True)


@asynccontextmanager
async def started(
    command: list[str], environment: Mapping[str, str], log: Path, *, talks: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Starts a process in its own session, tethered to this one; ends it with its whole group."""
    log.parent.mkdir(parents=True, exist_ok=True)
    pipe = asyncio.subprocess.PIPE
    nothing = asyncio.subprocess.DEVNULL
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.orchestrator.endpoints.die_with_parent",
            str(os.getpid()),
            *command,
            cwd=ROOT,
            env=dict(environment),
            stdin=pipe if talks else nothing,
            stdout=pipe if talks else output,
            stderr=output,
            start_new_session=True,
            limit=REPLY_BYTES,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def ready(
    url: str, process: asyncio.subprocess.Process, log: Path, status: int = httpx.codes.OK
) -> None:
    """Waits until the process answers with that status. Raises RuntimeError if it doesn't."""
    end = time.monotonic() + START_TIMEOUT_S
    async with httpx.AsyncClient() as client:
        while time.monotonic() < end:
            if process.returncode is not None:
                break
            with suppress(httpx.TransportError):
                if (await client.get(url)).status_code == status:
                    return
            await asyncio.sleep(0.3)
    raise RuntimeError(f"{url} does not come up:\n{end_of(log)}")


def end_of(log: Path) -> str:
    """The last 20 lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
