"""Record of a swap: its way, its seconds and its result, in the log and the metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services import metrics, tracing
from services.student.plan import Plan

UNPLANNED = "unplanned"
"""Way of a swap that failed before it had one."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class SwapRecord:
    """A swap under way. `plan` is set when it is made."""

    plan: Plan | None = None


@contextmanager
def swap(before: str, after: str) -> Iterator[SwapRecord]:
    """Record the swap that happens in this context; an exception is a failed one."""
    record = SwapRecord()
    began = time.monotonic()
    result = "failed"
    try:
        with tracing.span("swap", before=before, after=after):
            yield record
        result = "done"
    finally:
        way = record.plan.way if record.plan else UNPLANNED
        metrics.SWAPS.labels(way, result).inc()
        metrics.SWAP_SECONDS.labels(way).observe(time.monotonic() - began)
    if record.plan is not None:
        text = "%s is live, %s before; way of the swap: %s (%s)"
        _log.info(text, after, before or "none", record.plan.way, record.plan.reason)
