"""Micro-batching: concurrent requests become one batch, on a thread of its own, so that the event loop stays free."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from services.core.errors import MpaError, Overloaded, Unavailable
from services.engines.model import Prompt, Reply

LINGER_S = 0.003

Outcome = Reply | MpaError
Prepare = Callable[[Sequence[Prompt]], Any]
"""Makes of a batch's prompts what is computed with."""
Run = Callable[[Any, str], Sequence[Outcome]]
"""Computes a batch, prepared if it is to be, by an adapter ("": the model's own weights)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    prompt: Prompt
    adapter: str
    future: asyncio.Future[Reply]

    @property
    def kind(self) -> tuple[str, int]:
        """What the prompts of one batch have in common."""
        return self.adapter, self.prompt.decoding.max_new_tokens


async def never() -> str:
    """The death of an engine that lives in this very process: it ends with the service."""
    await asyncio.Event().wait()
    return ""


class MicroBatcher:
    """Runs `run` on up to `max_batch` waiting prompts at a time; prompts of one batch share adapter and `max_new_tokens`.

    A batch starts as soon as the engine is idle. Only where the last batch was larger than what waits now does it linger
    for LINGER_S, so that callers who have just been answered can ask again: a lone caller never waits.

    With `prepare`, which has a thread of its own, a batch is prepared while the one before is computed; only a full one, for
    it takes nobody in afterwards.
    """

    def __init__(self, run: Run, *, max_batch: int, max_waiting: int, prepare: Prepare | None = None) -> None:
        self._run = run
        self._prepare = prepare
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: deque[_Waiting] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._last_size = 0
        self._wake = asyncio.Event()
        self._closed = False
        self._preparer = ThreadPoolExecutor(1, thread_name_prefix="prepare")
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._worker = asyncio.get_running_loop().create_task(self._work())

    async def submit(self, prompt: Prompt, adapter: str = "") -> Reply:
        if self._closed:
            raise Unavailable("this model is being unloaded: ask again")
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded(f"{len(self._waiting)} requests are waiting already", retry_after_s=0.25)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(prompt, adapter, future))
        self._wake.set()
        return await future

    async def between_batches(self, work: Callable[[], None]) -> None:
        """Runs `work` on the engine's thread, while no batch is computed."""
        await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def close(self) -> None:
        """Answers what waits, then ends."""
        self._closed = True
        self._wake.set()
        await self._worker
        self._preparer.shutdown()
        self._executor.shutdown()

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
                task = asyncio.create_task(self._answer(batch))
                self._under_way.add(task)
                task.add_done_callback(self._ended)

    def _is_due(self) -> bool:
        """Whether to begin a batch now."""
        if not self._under_way:
            return bool(self._waiting)
        return self._prepare is not None and len(self._under_way) == 1 and len(self._waiting) >= self._max_batch

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._wake.set()

    async def _answer(self, batch: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        prepared: Any = [waiting.prompt for waiting in batch]
        try:
            if self._prepare is not None:
                prepared = await loop.run_in_executor(self._preparer, self._prepare, prepared)
            outcomes = await loop.run_in_executor(self._executor, self._run, prepared, batch[0].adapter)
        except Exception as error:
            _log.exception("a batch of %d failed", len(batch))
            outcomes = [MpaError(f"the engine failed: {error}", reason="ENGINE_FAILED")] * len(batch)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if waiting.future.done():
                continue
            if isinstance(outcome, MpaError):
                waiting.future.set_exception(outcome)
            else:
                waiting.future.set_result(outcome)

    def _take(self) -> list[_Waiting]:
        """The oldest request and those behind it that fit its batch; requests given up meanwhile are dropped."""
        batch: list[_Waiting] = []
        left: deque[_Waiting] = deque()
        while self._waiting:
            waiting = self._waiting.popleft()
            if waiting.future.done():
                continue
            if not batch or (waiting.kind == batch[0].kind and len(batch) < self._max_batch):
                batch.append(waiting)
            else:
                left.append(waiting)
        self._waiting = left
        return batch
