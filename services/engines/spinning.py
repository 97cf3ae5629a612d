"""Bounds how long vLLM's processes on a CPU hold a core while they wait for one another.

They hand on messages through shared memory, and one that waits looks for the next again and again until a second has passed
since its last (vLLM 0.32, `SpinCondition`). On a GPU that costs a core nobody needs. On a CPU it is a core that another engine,
or the same engine's next stage, would compute with. vLLM has no setting for it (docs/decisions/vllm-spinning.md).
"""

from __future__ import annotations

import logging
import os
from functools import partialmethod

from services.engines.tether import OWNER

SPIN_S = 0.005
RECHECK_MS = 10
"""vLLM drops the wake-up that follows another too closely; one that waits looks again after so long (5 s in vLLM)."""

_log = logging.getLogger(__name__)


def bound() -> None:
    """vLLM runs this in each of its processes, as a plugin (pyproject.toml); it does nothing where the engine isn't ours."""
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
