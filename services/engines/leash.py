"""A leash for a process that can't tether itself (tether.py): it ends with its owner.

    python -m services.engines.leash OWNER PID

vLLM's coordinator of several copies loads no plugin and would outlive a service that is killed.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def put_on(pid: int) -> subprocess.Popen[bytes]:
    """Starts the program that ends process `pid` when this process ends. Neither waits for it."""
    command = [sys.executable, "-m", "services.engines.leash", str(os.getpid()), str(pid)]
    return subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.DEVNULL)


def main() -> None:
    # Whoever stops the service also signals its children: this one must be the last.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    try:
        held = os.pidfd_open(int(sys.argv[2]))
    except ProcessLookupError:
        return
    waiting = select.poll()
    waiting.register(held, select.POLLIN)
    try:
        owner = os.pidfd_open(int(sys.argv[1]))
        waiting.register(owner, select.POLLIN)
        ended = {descriptor for descriptor, _ in waiting.poll()}
    except ProcessLookupError:
        ended = set()
    if held not in ended:
        signal.pidfd_send_signal(held, signal.SIGKILL)


if __name__ == "__main__":
    main()
