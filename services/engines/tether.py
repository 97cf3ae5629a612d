"""Keeps vLLM's processes from outliving the service that started them: killed, it would leave them in the device's memory.

vLLM runs `hold` in each of its processes, as a plugin (pyproject.toml, entry point group `vllm.general_plugins`).
"""

from __future__ import annotations

import os
import threading
import time

import psutil

OWNER = "MPA_ENGINE_OWNER"
_LOOK_EVERY_S = 1.0


def own() -> None:
    """Says that engines started from here on belong to this process."""
    os.environ[OWNER] = str(os.getpid())


def hold() -> None:
    """Ends this process within a second of its owner's end; does nothing in the owner itself, or where there is none."""
    owner = int(os.environ.get(OWNER) or 0)
    if not owner or owner == os.getpid():
        return

    def watch() -> None:
        while psutil.pid_exists(owner):
            time.sleep(_LOOK_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, name="tether", daemon=True).start()
