"""Micro-batching: concurrent requests become one batch, on a thread of its own, so that the event loop stays free."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from services.core.errors import MpaError, Overloaded, Unavailable
from services.engines.model import Prompt, Reply

LINGER_S = 0.003

Outcome = Reply | MpaError
_log = logging.getLogger(__name__)


class MicroBatcher:
    """Runs `run` on up to `max_batch` waiting prompts at a time; prompts of one batch share `max_new_tokens`.

    A batch starts as soon as the engine is idle. Only where the last batch was larger than what waits now does it linger
    for LINGER_S, so that callers who have just been answered can ask again: a lone caller never waits.
    """

    def __init__(self, run: Callable[[Sequence[Prompt]], Sequence[Outcome]], *, max_batch: int, max_waiting: int) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[Prompt, asyncio.Future[Reply]]] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._worker = asyncio.get_running_loop().create_task(self._work())

    async def submit(self, prompt: Prompt) -> Reply:
        if self._closed:
            raise Unavailable("this model is being unloaded: ask again")
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded(f"{len(self._waiting)} requests are waiting already", retry_after_s=0.25)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((prompt, future))
        self._wake.set()
        return await future

    async def close(self) -> None:
        """Answers what waits, then ends."""
        self._closed = True
        self._wake.set()
        await self._worker
        self._executor.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        last_size = 0
        while True:
            while not self._waiting and not self._closed:
                self._wake.clear()
                await self._wake.wait()
            if not self._waiting:
                return
            if len(self._waiting) < last_size and not self._closed:
                await asyncio.sleep(LINGER_S)
            batch = self._take()
            last_size = len(batch)
            if not batch:
                continue
            try:
                outcomes = await loop.run_in_executor(self._executor, self._run, [prompt for prompt, _ in batch])
            except Exception as error:
                _log.exception("a batch of %d failed", len(batch))
                outcomes = [MpaError(f"the engine failed: {error}", reason="ENGINE_FAILED")] * len(batch)
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if future.done():
                    continue
                if isinstance(outcome, MpaError):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)

    def _take(self) -> list[tuple[Prompt, asyncio.Future[Reply]]]:
        """The oldest request and those behind it that fit its batch; requests given up meanwhile are dropped."""
        batch: list[tuple[Prompt, asyncio.Future[Reply]]] = []
        left: deque[tuple[Prompt, asyncio.Future[Reply]]] = deque()
        while self._waiting:
            prompt, future = self._waiting.popleft()
            if future.done():
                continue
            fits = not batch or prompt.decoding.max_new_tokens == batch[0][0].decoding.max_new_tokens
            if fits and len(batch) < self._max_batch:
                batch.append((prompt, future))
            else:
                left.append((prompt, future))
        self._waiting = left
        return batch
