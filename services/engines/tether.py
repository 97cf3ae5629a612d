"""Keeps processes from outliving the service that started them: killed, it would leave them in the device's memory.

    python -m services.engines.tether MODULE ARGUMENTS...     runs MODULE, tethered before anything heavy is imported

vLLM runs `hold` in each of its processes, as a plugin (pyproject.toml, entry point group `vllm.general_plugins`).
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
"""Two readings of when a process was created differ by as much when the clock is set."""


def mark() -> dict[str, str]:
    """The environment variable that makes this process the owner of those it starts: its id, and when it was created."""
    return {OWNER: f"{os.getpid()} {psutil.Process().create_time()}"}


def own() -> None:
    """Says that processes started from here on belong to this one."""
    os.environ.update(mark())


def hold() -> None:
    """Ends this process as soon as its owner has ended, even if that was long ago and another process has its id now.

    Does nothing in the owner itself, or where there is none.
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
