"""A tether for processes: they end with the service that started them, even if it is killed.

Otherwise they would stay in the device's memory.

    python -m services.engines.tether MODULE ARGUMENTS...

runs MODULE and tethers it before it imports anything heavy. vLLM runs `hold` in each of its
processes, as a plugin (vllm_plugins.py).
"""

from __future__ import annotations

import os
import runpy
import select
import sys
import threading

import psutil

OWNER = "MPA_ENGINE_OWNER"
_SAME_WITHIN_S = 2.0
"""Largest difference between two readings of a process's start time; setting the clock moves it."""


def mark() -> dict[str, str]:
    """Environment variable that makes this process an owner: its id and its start time."""
    return {OWNER: f"{os.getpid()} {psutil.Process().create_time()}"}


def own() -> None:
    """Makes this process the owner of all processes it starts from now on."""
    os.environ.update(mark())


def hold() -> None:
    """Ends this process when its owner ends, or now if the owner's id already has a new process.

    Does nothing in the owner itself, or without one.
    """
    pid, _, created = os.environ.get(OWNER, "").partition(" ")
    if not pid or int(pid) == os.getpid():
        return
    try:
        owner = os.pidfd_open(int(pid))
        if abs(psutil.Process(int(pid)).create_time() - float(created)) > _SAME_WITHIN_S:
            os._exit(1)
    except (ProcessLookupError, psutil.NoSuchProcess):
        os._exit(1)

    def watch() -> None:
        waiting = select.poll()
        waiting.register(owner, select.POLLIN)
        waiting.poll()
        os._exit(1)

    threading.Thread(target=watch, name="tether", daemon=True).start()


def main() -> None:
    module = sys.argv[1]
    hold()
    del sys.argv[0]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
