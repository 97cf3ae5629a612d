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

    Its output is written to `output`. `devices` is its CUDA_VISIBLE_DEVICES; "" inherits. If this
    call is cancelled, it first ends the program: by SIGTERM, then by SIGKILL after TERMINATE_S
    seconds. The program always ends with this process.
    """
    environment = {
        **os.environ,
        **tether.mark(),
        **({"CUDA_VISIBLE_DEVICES": devices} if devices else {}),
    }
    process = subprocess.Popen(  # noqa: ASYNC220  # returns within milliseconds
        [sys.executable, "-m", "services.engines.tether", module, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=output,
        stderr=output,
    )
    try:
        return await _end_of(process)
    except asyncio.CancelledError:
        process.terminate()
        try:
            await asyncio.wait_for(_end_of(process), TERMINATE_S)
        except TimeoutError:
            process.kill()
            await _end_of(process)
        raise


async def _end_of(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end without a thread: a training takes hours."""
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
