"""The bundled pair as two real service processes on free loopback ports, and the commands that start any service."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import services
from services.core.errors import MpaError, Unavailable
from services.orchestrator.progress import Progress
from services.orchestrator.tasks import together
from services.rpc.connection import Connection

ROOT = Path(services.__file__).resolve().parent.parent
ENTRIES = {
    "teacher": "services.teacher.service:TeacherService",
    "student": "services.student.service:StudentService",
}
START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 30.0
LOG_LINES_SHOWN = 15


@dataclass(frozen=True, slots=True)
class Addresses:
    """HOST:PORT; "" for a service that this command doesn't use."""

    teacher: str = ""
    student: str = ""


def bento_command(role: str, http_port: int, host: str = "127.0.0.1") -> list[str]:
    listen = ["--host", host, "--port", str(http_port), "--working-dir", str(ROOT)]
    return [sys.executable, "-m", "bentoml", "serve", ENTRIES[role], *listen]


def service_environment(role: str, grpc_port: int, store: Path | None = None) -> dict[str, str]:
    """The bundled model unless the environment names another."""
    prefix = f"MPA_{role.upper()}"
    settings = {f"{prefix}_MODEL": str(ROOT / "zoo" / role), **os.environ, f"{prefix}_GRPC_PORT": str(grpc_port)}
    if store is not None:
        settings[f"{prefix}_STORE"] = str(store.absolute())
    return settings


@asynccontextmanager
async def local_services(folder: Path, roles: Sequence[str], progress: Progress) -> AsyncIterator[Addresses]:
    """Starts the services side by side, yields their addresses once they serve, and stops them.

    The student's versions live in `folder`/student, the logs in `folder`/logs. Raises Unavailable with the end of the log
    where a service doesn't come up.
    """
    started: list[_Service] = []
    try:
        for role in roles:
            started.append(await _Service.start(role, folder, progress))
        async with together() as group:
            for service in started:
                group.create_task(service.ready())
        yield Addresses(**{service.role: service.address for service in started})
    finally:
        await asyncio.shield(asyncio.gather(*(service.stop() for service in started)))


class _Service:
    def __init__(self, role: str, grpc_port: int, log: Path, process: asyncio.subprocess.Process) -> None:
        self.role, self.address = role, f"127.0.0.1:{grpc_port}"
        self._log, self._process = log, process

    @classmethod
    async def start(cls, role: str, folder: Path, progress: Progress) -> _Service:
        http_port, grpc_port = free_ports(2)
        log = folder / "logs" / f"{role}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = service_environment(role, grpc_port, folder / "student" if role == "student" else None)
        progress.note(f"starting the {role} ({environment[f'MPA_{role.upper()}_MODEL']}), log in {log}")
        return cls(role, grpc_port, log, await _spawn(bento_command(role, http_port), environment, log))

    async def ready(self) -> None:
        connection = Connection(self.role, self.address, START_TIMEOUT_S, 1, lambda _: None)
        ended, serving = (
            asyncio.ensure_future(self._process.wait()),
            asyncio.ensure_future(connection.wait_until_serving()),
        )
        try:
            await asyncio.wait((ended, serving), return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                raise Unavailable(f"the {self.role} ended before it was ready (exit code {ended.result()}){self._log_end()}")
            if serving.exception() is not None:
                raise Unavailable(f"the {self.role} was not ready in {START_TIMEOUT_S:g} s{self._log_end()}")
        finally:
            for waiting in (ended, serving):
                waiting.cancel()
            await connection.channel.close(None)

    def _log_end(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return f"; the end of {self._log}:\n" + "\n".join(f"    {line}" for line in lines)

    async def stop(self) -> None:
        """SIGTERM lets it finish what it has begun; SIGKILL to its whole group if it doesn't end."""
        if self._process.returncode is None:
            self._process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()


async def _spawn(command: Sequence[str], environment: Mapping[str, str], log: Path) -> asyncio.subprocess.Process:
    """In a session of its own, so that Ctrl-C reaches the orchestrator alone, and tethered to it."""
    tether = [sys.executable, "-m", "services.orchestrator.tether", str(os.getpid())]
    try:
        with log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *tether,
                *command,
                cwd=ROOT,
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    except OSError as error:
        raise MpaError(f"{command[0]} can't be started: {error.strerror}") from error


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody uses at this moment, all different."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(listener.getsockname()[1]) for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()
