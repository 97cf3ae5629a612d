"""A service that is killed, stopped and started again, at an address that stays."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import httpx
import psutil

from benchmarks.faults.cable import Cable
from benchmarks.processes import Service, end_of, serving

HEALTHY_S = 40.0
"""Longest time from a fault's end to a ready service: BentoML restarts a killed worker in 10 s."""
_TRAINER = "services.engines.tether"
_WORKER = "_bentoml_impl.worker.service"


class Replica:
    """A student on the store, behind a cable of its own."""

    def __init__(self, folder: Path, **settings: str | int | Path) -> None:
        self._folder = folder
        self._settings = settings
        self._running = AsyncExitStack()
        self._service: Service | None = None
        self.cables = [Cable()]

    @property
    def address(self) -> str:
        return self.cables[0].address

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises RuntimeError: it does not become ready."""
        try:
            async with asyncio.timeout(HEALTHY_S):
                service = await self._running.enter_async_context(
                    serving("student", self._folder, 1, **self._settings)
                )
        except TimeoutError as error:
            log = end_of(self._folder / "student.log")
            raise RuntimeError(f"not ready after {HEALTHY_S:g} s:\n{log}") from error
        for cable in self.cables:
            cable.port = service.grpc_port
            if not cable.address:
                await cable.start()
        self._service = service

    async def end(self) -> None:
        """End it by SIGTERM, if it still runs."""
        self._service = None
        await self._running.aclose()

    async def kill(self, processes: Sequence[psutil.Process]) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        await asyncio.to_thread(psutil.wait_procs, processes, 5)

    async def close(self) -> None:
        await self.end()
        for cable in self.cables:
            await cable.close()

    def processes(self) -> list[psutil.Process]:
        """The supervisor first, then its worker, then all that the worker started."""
        assert self._service is not None
        with suppress(psutil.NoSuchProcess):
            supervisor = psutil.Process(self._service.pid)
            return [supervisor, *supervisor.children(recursive=True)]
        return []

    def workers(self) -> list[psutil.Process]:
        return [process for process in self.processes() if _is(process, _WORKER)]

    def trainers(self) -> list[psutil.Process]:
        """Processes of a training under way."""
        return [process for process in self.processes() if _is(process, _TRAINER)]

    async def until_ready(self) -> str:
        """Wait for the running service. The complaint if it takes too long, or has ended."""
        assert self._service is not None
        url = f"{self._service.url}/readyz"
        with suppress(TimeoutError):
            async with asyncio.timeout(HEALTHY_S), httpx.AsyncClient(timeout=5) as client:
                while True:
                    with suppress(httpx.HTTPError):
                        if (await client.get(url)).status_code == httpx.codes.OK:
                            return ""
                    await asyncio.sleep(0.05)
        return f"{self._folder.name} is not ready {HEALTHY_S:g} s after the fault"


def stop(processes: Sequence[psutil.Process]) -> None:
    """Send SIGSTOP."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGSTOP)


def resume(processes: Sequence[psutil.Process]) -> None:
    """Send SIGCONT, to children first."""
    for process in reversed(processes):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)


def _is(process: psutil.Process, module: str) -> bool:
    try:
        return module in process.cmdline()
    except psutil.Error:
        return False
