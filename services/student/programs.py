"""Programs that the student service runs in processes of their own, on devices of their own.

They are started by `subprocess`, not by the event loop. uvloop, which the HTTP server takes where it is installed, starts them
by fork(); grpc's handlers for that crash the copy now and then before it has become the program (seen: exit code -11 from 25
of 1,500). `subprocess` calls vfork(), for which no handlers run.
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
    """Runs `python -m MODULE ARGUMENTS...` to its end, all that it says into `output`; returns its exit code, -N for signal N.

    `devices` is its CUDA_VISIBLE_DEVICES, "" inherits. Cancelled, it ends the program first: by SIGTERM, and by SIGKILL where
    that takes longer than TERMINATE_S. The program ends with this process, however that ends.
    """
    environment = {
        **os.environ,
        **tether.mark(),
        **({"CUDA_VISIBLE_DEVICES": devices} if devices else {}),
    }
    process = subprocess.Popen(  # noqa: ASYNC220  # returns once the program has begun, in milliseconds
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
    """Waits without a thread: a training takes hours."""
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
