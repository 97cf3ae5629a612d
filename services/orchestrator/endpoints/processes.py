"""The bundled pair as two processes on free loopback ports, and commands for any service."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import services
from services.core import extras
from services.core.errors import Conflict, InvalidInput, MpaError, Unavailable
from services.orchestrator.run.progress import Progress
from services.rpc.connection import Connection
from services.together import together

ROOT = Path(services.__file__).resolve().parent.parent
ENTRIES = {
    "teacher": "services.teacher.service:TeacherService",
    "student": "services.student.service:StudentService",
}
BENTOML_HOMES = Path(".mpa/bentoml")
STORE = Path(".mpa/student")
"""Default store of a student, in the folder of the command."""
_ACCESS = ("KEYS", "TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA")
_LISTEN = ("HOST", "CONTROL_PORT")
_PATHS = ("MODEL", "STORE", "SAMPLES", "IMAGE_ROOT", "IMAGE_CA", "PRICES", "BATCH_FOLDER", *_ACCESS)
START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 40.0
LOCK_EVERY_S = 0.2
LOG_LINES_SHOWN = 15
GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST_PORT, PORTS_TRIED = 20_000, 100
SIGNS_OF_FAILURE = ("Application startup failed", " cannot serve")
"""Lines that uvicorn and our own services log when a start has failed for good."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """HOST:PORT; "" for a service that this command doesn't use."""

    teacher: str = ""
    student: str = ""


def bento_command(role: str, http_port: int, host: str = "127.0.0.1") -> list[str]:
    """Raises InvalidInput if the services are not installed here."""
    extras.require("bentoml", "serve", f"a {role} on this machine")
    listen = ["--host", host, "--port", str(http_port), "--working-dir", str(ROOT)]
    return [sys.executable, "-m", "bentoml", "serve", ENTRIES[role], *listen]


def service_environment(role: str, grpc_port: int, home: Path) -> dict[str, str]:
    """The caller's environment, with a `home` for BentoML by default: sharing one loses metrics."""
    defaults = {"BENTOML_HOME": str(home.absolute()), "BENTOML_DO_NOT_TRACK": "True"}
    home.mkdir(parents=True, exist_ok=True)
    port = {f"MPA_{role.upper()}_GRPC_PORT": str(grpc_port)}
    return from_here(role, {**defaults, **os.environ, **port})


def from_here(role: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with absolute paths: BentoML runs a service in the folder of its code."""
    found = dict(environment)
    for name in _PATHS:
        variable = f"MPA_{role.upper()}_{name}"
        given = found.get(variable) or (str(STORE) if variable == "MPA_STUDENT_STORE" else "")
        if given and (name != "MODEL" or Path(given).is_dir()):  # else a hub id
            found[variable] = str(Path(given).absolute())
    return found


def local_environment(role: str, grpc_port: int, folder: Path) -> dict[str, str]:
    """Environment of a service of the run in `folder` that shares the machine with the other one.

    With all cores each, and idle threads that spin, both models are ten times slower. It listens on
    this machine alone, for the time of the command, without the keys and certificates of others.
    """
    prefix = f"MPA_{role.upper()}"
    home = folder / "bentoml" / role
    shared = {
        f"{prefix}_THREADS": str(max(1, len(os.sched_getaffinity(0)) // 2)),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    store = {f"{prefix}_STORE": str((folder / "student").absolute())} if role == "student" else {}
    return {
        **shared,
        **service_environment(role, grpc_port, home),
        "BENTOML_HOME": str(home.absolute()),
        **dict.fromkeys((f"{prefix}_{name}" for name in (*_ACCESS, *_LISTEN)), ""),
        **store,
    }


def _model(role: str, environment: Mapping[str, str]) -> str:
    """Model that the service runs in that environment, for people."""
    prefix = f"MPA_{role.upper()}"
    return (
        environment.get(f"{prefix}_MODEL")
        or environment.get(f"{prefix}_PRESET")
        or "the bundled one"
    )


@asynccontextmanager
async def local_services(
    folder: Path, roles: Sequence[str], progress: Progress, settings: Mapping[str, str]
) -> AsyncIterator[Addresses]:
    """Starts the services in parallel, yields their addresses once they are ready, and stops them.

    `settings` are added to their environment. The student's versions are in
    `folder`/student, the logs in `folder`/logs. Raises Unavailable with the end of the
    log if a service doesn't start.
    """
    started: list[_Service] = []
    try:
        for role in roles:
            started.append(await _Service.start(role, folder, progress, settings))
        async with together() as group:
            for service in started:
                group.create_task(service.ready())
        yield Addresses(**{service.role: service.address for service in started})
    finally:
        await asyncio.shield(asyncio.gather(*(service.stop() for service in started)))


class _Service:
    """A service process. `log_start`: offset of its own part of the log."""

    def __init__(
        self,
        role: str,
        grpc_port: int,
        log: Path,
        process: asyncio.subprocess.Process,
        log_start: int,
    ) -> None:
        self.role = role
        self.address = f"127.0.0.1:{grpc_port}"
        self._log = log
        self._process = process
        self._log_start = log_start

    @classmethod
    async def start(
        cls, role: str, folder: Path, progress: Progress, settings: Mapping[str, str]
    ) -> _Service:
        http_port, grpc_port = free_ports(2)
        command = bento_command(role, http_port)
        log = folder / "logs" / f"{role}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = from_here(role, {**local_environment(role, grpc_port, folder), **settings})
        progress.note(f"starting the {role} ({_model(role, environment)}), log in {log}")
        log_start = log.stat().st_size if log.exists() else 0
        return cls(
            role,
            grpc_port,
            log,
            await _spawn(command, environment, log),
            log_start,
        )

    async def ready(self) -> None:
        connection = Connection(self.role, self.address, START_TIMEOUT_S, 1, lambda _: None)
        watching = asyncio.create_task(self._failure())
        serving = asyncio.create_task(connection.wait_until_serving())
        try:
            await asyncio.wait((watching, serving), return_when=asyncio.FIRST_COMPLETED)
            if not serving.done() or serving.exception() is not None:
                why = (
                    watching.result()
                    if watching.done()
                    else f"was not ready in {START_TIMEOUT_S:g} s"
                )
                raise Unavailable(
                    f"the {self.role} {why}; the end of {self._log}:\n{self._log_end()}"
                )
        finally:
            watching.cancel()
            serving.cancel()
            await connection.close()

    async def _failure(self) -> str:
        """Returns only if the service can't become ready: it ended, or its worker keeps failing."""
        while self._process.returncode is None:
            if any(sign in self._log_text() for sign in SIGNS_OF_FAILURE):
                return "could not start"
            await asyncio.sleep(0.5)
        return f"ended before it was ready (exit code {self._process.returncode})"

    def _log_text(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def _log_end(self) -> str:
        return "\n".join(f"    {line}" for line in self._log_text().splitlines()[-LOG_LINES_SHOWN:])

    async def stop(self) -> None:
        """Sends SIGTERM to let it finish its work, and SIGKILL to its whole group in the end."""
        if self._process.returncode is None:
            self._process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()


async def _spawn(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> asyncio.subprocess.Process:
    """Starts the process in its own session, so that Ctrl-C reaches the orchestrator alone.

    The process ends with the orchestrator.
    """
    tether = [
        sys.executable,
        "-m",
        "services.orchestrator.endpoints.die_with_parent",
        str(os.getpid()),
    ]
    try:
        with log.open("ab") as output:
            await _own(output, log)
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


async def _own(output: BinaryIO, log: Path) -> None:
    """Locks the log for its writer: the service of a killed orchestrator must end first."""
    for _ in range(round(STOP_TIMEOUT_S / LOCK_EVERY_S)):
        with suppress(BlockingIOError):
            fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        await asyncio.sleep(LOCK_EVERY_S)
    raise Conflict(f"an earlier service still writes to {log}: wait for it to end, or stop it")


def require_free(host: str, port: int, option: str) -> None:
    """Raises InvalidInput, naming the `option` that chooses the port: nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        raise InvalidInput(
            f"port {port} of {host} can't be used ({os.strerror(number) if number else error}): "
            f"end the process that has it, or choose another with {option}",
            field=option,
        ) from error


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that are free at this moment, all different.

    They are below the range that the system assigns: an assigned port may be taken by a
    connection, or by a socket of BentoML, before the service listens on it.
    """
    first_given_out = int(GIVEN_OUT.read_text().split()[0]) if GIVEN_OUT.is_file() else FIRST_PORT
    below = range(FIRST_PORT, max(FIRST_PORT, first_given_out))
    with ExitStack() as listening:
        ports: list[int] = []
        for port in (*random.sample(below, min(len(below), PORTS_TRIED)), *[0] * count):
            if len(ports) < count:
                with suppress(OSError):
                    listener = listening.enter_context(socket.create_server(("127.0.0.1", port)))
                    ports.append(int(listener.getsockname()[1]))
        return ports
