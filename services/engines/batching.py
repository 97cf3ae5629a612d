"""Micro-batching: concurrent requests become one batch, computed off the event loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from services import metrics, tracing
from services.core.errors import MpaError, Overloaded, Unavailable
from services.engines.computation import Computation, PendingPrompt, Prepare, Run
from services.engines.model import Prompt, Reply
from services.engines.watchdog import Watchdog

LINGER_S = 0.003
CLOSE_S = 10.0
"""Seconds that a closed engine may take for its requests."""

_log = logging.getLogger(__name__)


async def never() -> str:
    """Death of an engine that can't die: it works elsewhere, and each of its calls has a limit."""
    await asyncio.Event().wait()
    return ""


def died(reason: str) -> Unavailable:
    """Error for all requests to a dead engine."""
    return Unavailable(
        f"the engine has died ({reason}): the service is starting another, ask again"
    )


def full(waiting: int) -> Overloaded:
    """Error for a request that finds `waiting` others before it."""
    return Overloaded(
        f"{waiting} requests wait already: ask again later",
        retry_after_s=0.25,
        limit="engine_queue",
    )


class MicroBatcher:
    """Runs `run` on up to `max_batch` waiting prompts at a time.

    Prompts of one batch share adapter, `max_new_tokens` and the length of a given reply. A batch
    starts as soon as the engine is idle. It waits LINGER_S more only if fewer prompts wait than
    were in the last batch, so that callers who have just been answered can ask again. A lone caller
    never waits.

    With `prepare`, which has its own thread, a full batch is prepared while the one before it is
    computed; others can still grow. One bad prompt harms nobody else (computation.py).

    The batcher dies, and with it the engine, when the watchdog says so (no progress for
    `watchdog_s`, and no answer to a canary), or when one of its threads or its task ends. Every
    request then fails with Unavailable, and `death` returns.
    """

    def __init__(
        self,
        run: Run,
        *,
        max_batch: int,
        max_waiting: int,
        prepare: Prepare | None = None,
        watchdog_s: float = 0.0,
        close_s: float = CLOSE_S,
    ) -> None:
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._close_s = close_s
        self._waiting: dict[PendingPrompt, None] = {}
        self._unanswered: set[PendingPrompt] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        self._last_size = 0
        self._wake = asyncio.Event()
        self._closed = False
        self._death: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._watchdog = Watchdog(
            watchdog_s, lambda canary: self._enter(canary, "").reply, self.die
        )
        self._computation = Computation(run, prepare, self._replied, self.die)
        self._worker = asyncio.create_task(self._work())
        self._worker.add_done_callback(self._worker_ended)

    async def submit(self, prompt: Prompt, adapter: str = "") -> Reply:
        """Replies to a prompt.

        Raises Overloaded, Unavailable (closed or dead), EngineFailed (on this prompt), and the
        errors of `run`.
        """
        if self._death.done():
            raise died(self._death.result())
        if self._closed:
            raise Unavailable("this model is being unloaded: ask again")
        if len(self._waiting) >= self._max_waiting:
            raise full(len(self._waiting))
        with tracing.inner("engine") as span:
            reply = await self._enter(prompt, adapter, span).reply
            tracing.used(span, reply.usage)
            return reply

    def _enter(
        self, prompt: Prompt, adapter: str, span: tracing.TraceSpan = tracing.NO_SPAN
    ) -> PendingPrompt:
        pending = PendingPrompt(prompt, adapter, asyncio.get_running_loop().create_future(), span)
        pending.reply.add_done_callback(lambda _: self._forget(pending))
        self._waiting[pending] = None
        self._unanswered.add(pending)
        self._watchdog.asked()
        self._wake.set()
        return pending

    def _forget(self, pending: PendingPrompt) -> None:
        self._waiting.pop(pending, None)
        self._unanswered.discard(pending)

    async def between_batches(self, work: Callable[[], None]) -> None:
        """Runs `work` on the engine's thread, while no batch is computed.

        Raises MpaError; Unavailable if the engine dies.
        """
        working = asyncio.ensure_future(self._computation.between(work))
        either: set[asyncio.Future[Any]] = {working, self._death}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise died(self._death.result())
            await working
        finally:
            working.cancel()

    def beat(self) -> None:
        """Notes a step of a long computation in `run`. Raises Cancelled: no caller is left."""
        self._watchdog.beat()
        self._computation.require_somebody_waits()

    def die(self, reason: str) -> None:
        """Ends the engine at once: all its requests fail with Unavailable."""
        if not self._death.done() and not self._closed:
            self._death.set_result(reason)
            self._fail_all(died(reason))

    async def death(self) -> str:
        """Returns the reason when the engine has died; never if it was closed alive."""
        return await asyncio.shield(self._death)

    async def close(self) -> None:
        """Answers waiting requests, then ends within twice `close_s`; abandons a hung thread."""
        self._closed = True
        self._wake.set()
        is_alive = not self._death.done()
        if is_alive:
            await asyncio.wait({self._worker}, timeout=self._close_s)
            is_alive = self._worker.done()
            self._fail_all(Unavailable("this model was unloaded before it could answer: ask again"))
        await self._computation.end(self._close_s if is_alive else 0)

    def _fail_all(self, error: MpaError) -> None:
        self._watchdog.stop()
        for task in (self._worker, *self._under_way):
            task.cancel()
        for pending in tuple(self._unanswered):
            pending.settle(error)

    def _replied(self) -> None:
        self._watchdog.replied(others_wait=any(not pending.is_over for pending in self._unanswered))

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        if not worker.cancelled() and (error := worker.exception()) is not None:
            _log.error("batches are no longer made", exc_info=error)
        self.die("its batching has ended")

    async def _work(self) -> None:
        while self._waiting or self._under_way or not self._closed:
            if not self._is_due():
                self._wake.clear()
                await self._wake.wait()
                continue
            if len(self._waiting) < self._last_size and not self._closed:
                await asyncio.sleep(LINGER_S)
            if batch := self._take():
                self._last_size = len(batch)
                _count(batch)
                task = asyncio.create_task(self._computation.answer(batch))
                self._under_way.add(task)
                task.add_done_callback(self._ended)

    def _is_due(self) -> bool:
        """Whether a batch should begin now."""
        if not self._under_way:
            return bool(self._waiting)
        return (
            self._computation.prepares
            and len(self._under_way) == 1
            and len(self._waiting) >= self._max_batch
        )

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a batch was left unanswered", exc_info=error)
            self.die("a batch was left unanswered")

    def _take(self) -> list[PendingPrompt]:
        """Takes the oldest request and later ones that fit its batch; drops cancelled requests."""
        batch: list[PendingPrompt] = []
        for pending in tuple(self._waiting):
            if len(batch) == self._max_batch:
                break
            if pending.is_over:
                del self._waiting[pending]
            elif not batch or pending.kind == batch[0].kind:
                del self._waiting[pending]
                batch.append(pending)
        return batch


def _count(batch: Sequence[PendingPrompt]) -> None:
    now = time.monotonic()
    metrics.BATCH_SIZE.observe(len(batch))
    for pending in batch:
        metrics.QUEUE_SECONDS.observe(now - pending.asked_at)
        pending.span.add_event("batch", {"mpa.prompts": len(batch)})
