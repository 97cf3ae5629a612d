"""Programs that the student service runs in their own processes, on their own devices.

They are started by `subprocess`, not by the event loop. uvloop, which the HTTP server uses if it is
installed, starts them by fork(). grpc's fork handlers sometimes crash the copy before it has become
the program (seen: exit code -11 in 25 of 1,500 starts). `subprocess` calls vfork(), which runs no
handlers.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from services.engines import tether

ROOT = Path(__file__).resolve().parents[2]
TERMINATE_S = 10.0


async def run(module: str, arguments: Sequence[str], devices: str, output: BinaryIO) -> int:
    """Run `python -m MODULE ARGUMENTS...` to its end, and return its exit code (-N for signal N).

    See `start`. If this call is cancelled, it first ends the program.
    """
    process = start(module, arguments, devices, output)
    ended = asyncio.get_running_loop().create_task(end_of(process))
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        await end(process, ended)
        raise


def start(
    module: str,
    arguments: Sequence[str],
    devices: str,
    output: BinaryIO,
    input: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start `python -m MODULE ARGUMENTS...`, which always ends with this process.

    Its output is written to `output`. `devices` is its CUDA_VISIBLE_DEVICES; "" inherits.
    """
    environment = {
        **os.environ,
        **tether.mark(),
        **({"CUDA_VISIBLE_DEVICES": devices} if devices else {}),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "services.engines.tether", module, *arguments],
        cwd=ROOT,
        env=environment,
        stdin=input,
        stdout=output,
        stderr=output,
    )


async def end(process: subprocess.Popen[bytes], ended: asyncio.Task[int]) -> None:
    """End a program: by SIGTERM, then by SIGKILL after TERMINATE_S seconds."""
    process.terminate()
    try:
        await asyncio.wait_for(asyncio.shield(ended), TERMINATE_S)
    except TimeoutError:
        process.kill()
        await ended


async def end_of(process: subprocess.Popen[bytes]) -> int:
    """Wait for its exit code without a thread: a training takes hours."""
    loop = asyncio.get_running_loop()
    has_ended = asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, has_ended.set)
    try:
        await has_ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return process.wait()
