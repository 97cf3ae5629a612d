"""A series of jobs in one process of a training program: start, imports and samples are shared.

The service starts `python -m PROGRAM FOLDER` with a socket as standard input. When the job in
FOLDER is done, the program reports so on the socket and reads the next folder from it. It ends with
the socket. A failed job ends it at once, with an exit code.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.student import programs

_DONE = b"done\n"
IDLE_S = 30.0
"""Longest wait of a process for its next job: it keeps samples in memory, and its device."""


def jobs_of(arguments: Sequence[str]) -> Iterator[Path]:
    """Folders of the jobs of this process: that of its command line, then those of the service.

    A job is done when the next one is asked for. Each writes its output to its own log.txt.
    """
    yield Path(arguments[0])
    if not stat.S_ISSOCK(os.fstat(0).st_mode):
        return  # started by hand
    with socket.socket(fileno=os.dup(0)) as service, service.makefile("rb") as folders:
        service.sendall(_DONE)
        for line in folders:
            folder = Path(os.fsdecode(line.rstrip(b"\n")))
            _write_to(folder / "log.txt")
            yield folder
            service.sendall(_DONE)


def _write_to(log: Path) -> None:
    """Send the output of this process, and of those that it starts, to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


class TrainingProcess:
    """The process of a training program, started when a job comes and it isn't there.

    `devices` is its CUDA_VISIBLE_DEVICES; "" inherits. `idle_s`: its longest wait for the next job.
    """

    def __init__(self, program: str, devices: str, idle_s: float = IDLE_S) -> None:
        self._idle_s = idle_s
        self._program = program
        self._devices = devices
        self._line: _Line | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def do(self, folder: Path, *, stays: bool = False) -> int:
        """Do the job in `folder`, and return 0 or the exit code of the process (-N for signal N).

        `stays`: after a job that is done, the process waits for another. If this call is
        cancelled, it first ends the process.
        """
        if self._idle is not None:
            self._idle.cancel()
        try:
            line = self._line
            if line is not None and line.is_open:
                line.tell(folder)
            else:
                if line is not None:
                    await line.ended
                line = self._line = await self._start(folder)
            if await line.is_done() and stays:
                self._idle = asyncio.get_running_loop().call_later(self._idle_s, line.close)
                return 0
            line.close()
            return await asyncio.shield(line.ended)
        except asyncio.CancelledError:
            await self.end()
            raise

    async def end(self) -> None:
        """End the process: by SIGTERM, then by SIGKILL."""
        if self._idle is not None:
            self._idle.cancel()
        if self._line is not None:
            self._line.close()
            await programs.end(self._line.process, self._line.ended)

    async def _start(self, folder: Path) -> _Line:
        """Start the process. Nothing is awaited after it: a cancelled call would lose it."""
        ours, theirs = socket.socketpair()
        with theirs, (folder / "log.txt").open("ab") as log:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            arguments = [str(folder.resolve())]
            process = programs.start(self._program, arguments, self._devices, log, theirs.fileno())
        ended = asyncio.get_running_loop().create_task(programs.end_of(process))
        return _Line(process, ended, reader, writer)


@dataclass(frozen=True, slots=True)
class _Line:
    """The service's end of the socket to a running process."""

    process: subprocess.Popen[bytes]
    ended: asyncio.Task[int]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def is_open(self) -> bool:
        return not self.ended.done() and not self.writer.is_closing()

    def tell(self, folder: Path) -> None:
        """Name the next job."""
        self.writer.write(os.fsencode(folder.resolve()) + b"\n")

    async def is_done(self) -> bool:
        """Wait for the end of the job. False: the process has ended."""
        report = asyncio.get_running_loop().create_task(self.reader.readline())
        try:
            await asyncio.wait({report, self.ended}, return_when=asyncio.FIRST_COMPLETED)
            return report.done() and report.exception() is None and report.result() == _DONE
        finally:
            report.cancel()

    def close(self) -> None:
        """Let the process end: no job follows."""
        self.writer.close()
