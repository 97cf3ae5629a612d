"""Several processes of one training: their launcher (torchrun), and how one of them ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import torch

from services.engines import tether
from services.student.execution import Execution

OUT_OF_MEMORY = 75
"""Exit code of a process whose memory ran out."""


def launch(folder: Path, execution: Execution) -> None:
    """Run this program in its processes (torchrun), which end with this one.

    Raises InvalidInput; MemoryError: memory ran out in one of them.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    execution.require_devices(torch.cuda.device_count())
    program = ["-m", "services.engines.tether", "services.student.training", str(folder)]
    owner = os.environ.get(tether.OWNER, "")
    if execution.offload:  # CPUs compute the optimizer's steps; torchrun would give each one thread
        threads = len(os.sched_getaffinity(0)) // execution.processes
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, threads)))
    tether.own()  # ranks end with this launcher, even during their imports
    try:
        run.main(["--standalone", f"--nproc-per-node={execution.processes}", *program])
    except ChildFailedError as failed:
        codes = {each.exitcode for each in failed.failures.values()}
        if OUT_OF_MEMORY in codes:
            raise MemoryError("in one of the training's processes") from failed
        if -signal.SIGKILL in codes:
            os.kill(os.getpid(), signal.SIGKILL)  # the service decides whether memory ran out
        sys.exit(1)
    except SignalException as stopped:
        # The waiting parent sees that this process died of the signal that it received.
        signal.signal(stopped.sigval, signal.SIG_DFL)
        os.kill(os.getpid(), stopped.sigval)
    finally:
        os.environ[tether.OWNER] = owner  # a process that replaces this one keeps its own owner


def end_workers() -> None:
    """Kill the processes that decode samples for this one.

    They are copies of it, so they would hold the device's memory, also after this process has
    become another program.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler raises an error at their end
    for worker in multiprocessing.active_children():
        worker.kill()
        worker.join()


def leave(code: int = 0) -> NoReturn:
    """End a process that has written its results, without closing interpreter or process group.

    Threads of gloo, autograd and tokenizers live to the end of the process. A rank has been seen to
    abort while its interpreter ended (exit code -6), probably by a thread that woke up then, and
    torchrun ended all other ranks with it. Another rank hung: releasing the last reference to the
    group waits for gloo's thread while holding the interpreter lock, and that thread waited for
    the lock to release a tensor. Therefore this is called while the trainer still holds the group.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
