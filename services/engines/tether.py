"""A tether for processes: they end with the service that started them, even if it is killed.

Otherwise they would stay in the device's memory.

    python -m services.engines.tether MODULE ARGUMENTS...

runs MODULE and tethers it before it imports anything heavy. vLLM runs `hold` in each of its
processes, as a plugin (vllm_plugins.py).
"""

from __future__ import annotations

import ctypes
import os
import runpy
import select
import signal
import sys
import threading
from pathlib import Path

OWNER = "MPA_ENGINE_OWNER"
_PR_SET_PDEATHSIG = 1
_START_TIME = 19
"""Place of the start time in /proc/PID/stat, counted from the state behind the name."""


def end_with_parent() -> None:
    """Has Linux send SIGTERM to this process when its parent ends, also by SIGKILL.

    The death signal survives exec. Raises OSError: this is not Linux.
    """
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError("prctl(PR_SET_PDEATHSIG) failed: this needs Linux")


def mark() -> dict[str, str]:
    """Environment variable that makes this process an owner: its id and its start time."""
    return {OWNER: f"{os.getpid()} {_started(os.getpid())}"}


def _started(pid: int) -> str:
    """Ticks from the machine's start to the process's: setting the clock doesn't change them.

    Raises OSError: there is no such process.
    """
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[_START_TIME]


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
        if _started(int(pid)) != created:
            os._exit(1)
    except OSError:
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
