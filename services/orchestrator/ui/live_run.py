"""A run at work: its stages, cells and newest records, and events when they change."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass

import anyio
import anyio.to_thread

from services.core.errors import MpaError
from services.orchestrator.run.columns import columns
from services.orchestrator.run.journal import StageProgress, read_journal
from services.orchestrator.run.ledger.facets import Order
from services.orchestrator.run.listing import AT_WORK
from services.orchestrator.ui.choosing import Wish
from services.orchestrator.ui.library import OpenedRun
from services.orchestrator.ui.overview import Overview, read_overview
from services.orchestrator.ui.record_list import RecordList, read_records
from services.orchestrator.ui.run_list import Document

SHOWN = 6
"""Newest records on the page."""
PAUSE_S = 2.0
STEP_S = 0.2
REST = 50
"""Pause between two looks at a run, at least: this many times the time of a look."""


@dataclass(frozen=True, slots=True)
class LiveRun:
    """The page. `stages`: those of the command under way."""

    overview: Overview
    stages: tuple[StageProgress, ...]
    newest: RecordList

    @property
    def is_at_work(self) -> bool:
        return self.overview.state == AT_WORK

    def document(self) -> Document:
        return {
            "overview": self.overview.document(),
            "stages": [asdict(stage) for stage in self.stages],
            "records": [
                columns(entry, self.newest.settings) for entry in self.newest.entries[:SHOWN]
            ],
        }


def read_live_run(opened: OpenedRun) -> LiveRun:
    overview = read_overview(opened)
    stages = read_journal(opened.run.folder) if overview.state == AT_WORK else ()
    return LiveRun(overview, stages, read_records(opened, Wish(order=Order.NEWEST)))


async def events(read: Callable[[], LiveRun], is_leaving: Callable[[], bool]) -> AsyncIterator[str]:
    """An event whenever the page would be another one, and `ended` when the run is at rest.

    A line without an event shows at each look that the connection is alive. The stream ends soon
    after `is_leaving`: the explorer stops.
    """
    last = ""
    while not is_leaving():
        began = time.monotonic()
        try:
            live = await anyio.to_thread.run_sync(read)
        except MpaError:  # it has been deleted or moved
            break
        text = json.dumps(live.document(), default=str)
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        yield ":\n\n" if digest == last else f"data: {digest[:12]}\n\n"
        last = digest
        if not live.is_at_work:
            break
        now = time.monotonic()
        until = now + max(PAUSE_S, REST * (now - began))
        while time.monotonic() < until and not is_leaving():  # noqa: ASYNC110 (ends by time, too)
            await anyio.sleep(STEP_S)
    yield "event: ended\ndata: \n\n"
