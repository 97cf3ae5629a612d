"""A limit on the time that waiting vLLM processes occupy a CPU core.

vLLM's processes pass messages through shared memory. A waiting one looks for the next message
again and again for a second after its last (vLLM 0.32, `SpinCondition`). With a GPU that costs a
core nobody needs. On a CPU another engine, or the same engine's next stage, needs the core. vLLM
has no setting for it (docs/decisions/vllm-spinning.md).
"""

from __future__ import annotations

import logging
import os
from functools import partialmethod

from services.engines.tether import OWNER

SPIN_S = 0.005
RECHECK_MS = 10
"""Interval of looking again (vLLM: 5 s), since vLLM drops a wake-up soon after another."""

_log = logging.getLogger(__name__)


def bound() -> None:
    """Sets the limit in a vLLM process, as a plugin (pyproject.toml), if the engine is ours."""
    if not os.environ.get(OWNER):
        return
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.distributed.device_communicators import shm_broadcast

    if not hasattr(shm_broadcast, "SpinCondition"):
        _log.warning("this vLLM has no SpinCondition: its processes wait as they please")
        return
    shm_broadcast.SHM_READER_RECHECK_INTERVAL_MS = RECHECK_MS
    shm_broadcast.SpinCondition.__init__ = partialmethod(
        shm_broadcast.SpinCondition.__init__, busy_loop_s=SPIN_S
    )
