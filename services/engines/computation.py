"""The computation of batches, in which one bad prompt harms nobody else.

A batch that can't be prepared is prepared prompt by prompt, and computed without those that fail.
A batch whose computation fails is computed in halves until the culprit is alone; this also helps
a batch that is too large for the device's memory. Prompts that `Run` leaves for LATER are computed
after the others of their batch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from services.core.errors import Cancelled, EngineFailed, MpaError
from services.engines.model import Prompt, Reply
from services.engines.worker import WorkerThread
from services.tracing import NO_SPAN, TraceSpan

WORTH_PREPARING_AGAIN = 1 / 8
"""Share of callers who have left at which the rest of a prepared batch is prepared again."""


class Left(Enum):
    """Outcome of a prompt that was left out of its batch, which would have become too large."""

    LATER = "later"


LATER: Final = Left.LATER
Outcome = Reply | MpaError | Left
Prepare = Callable[[Sequence[Prompt]], Any]
"""Prepares a batch's prompts for `Run`."""
Run = Callable[[Any, str], Sequence[Outcome]]
"""Computes a batch (prepared, if there is a Prepare) by an adapter ("": the model itself)."""


@dataclass(frozen=True, slots=True, eq=False)
class PendingPrompt:
    """A prompt whose caller waits."""

    prompt: Prompt
    adapter: str
    reply: asyncio.Future[Reply]
    span: TraceSpan = NO_SPAN
    asked_at: float = field(default_factory=time.monotonic)

    @property
    def kind(self) -> tuple[str, int, int]:
        """Key that all prompts of one batch share."""
        return self.adapter, self.prompt.decoding.max_new_tokens, len(self.prompt.given)

    @property
    def is_over(self) -> bool:
        """Whether its caller has been answered or has gone."""
        return self.reply.done()

    def settle(self, outcome: Reply | MpaError) -> None:
        if self.is_over:
            return
        if isinstance(outcome, MpaError):
            self.reply.set_exception(outcome)
        else:
            self.reply.set_result(outcome)


class Computation:
    """Two threads of an engine: one prepares batches, one computes them.

    `replied` is called when the model has replied to some prompts of a batch, `died` if a thread
    ends by itself.
    """

    def __init__(
        self,
        run: Run,
        prepare: Prepare | None,
        replied: Callable[[], None],
        died: Callable[[str], None],
    ) -> None:
        self._run = run
        self._prepare = prepare
        self._replied = replied
        self._preparer = WorkerThread("prepare", died)
        self._engine = WorkerThread("engine", died)
        self._batch: Sequence[PendingPrompt] = ()

    @property
    def prepares(self) -> bool:
        return self._prepare is not None

    async def answer(self, batch: list[PendingPrompt]) -> None:
        """Settles each prompt of a batch whose caller still waits."""
        parts = [batch]
        while parts:
            if part := _still_there(parts.pop()):
                parts += await self._answer(part)

    async def between(self, work: Callable[[], None]) -> None:
        """Runs `work` on the engine's thread, while no batch is computed. Raises MpaError."""
        await self._engine.do(work)

    def require_somebody_waits(self) -> None:
        """Checks from within `run`. Raises Cancelled: every caller of its batch has gone."""
        if self._batch and all(pending.is_over for pending in self._batch):
            raise Cancelled("every caller of this batch has gone")

    async def end(self, within_s: float) -> None:
        """Ends both threads; abandons one that hangs."""
        threads = (self._preparer, self._engine)
        for thread in threads:
            thread.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                for thread in threads:
                    await thread.ended()

    async def _answer(self, batch: list[PendingPrompt]) -> list[list[PendingPrompt]]:
        """Settles a batch, or some of it. Returns the parts that are left, the last one first."""
        outcomes = None
        try:
            while outcomes is None:
                batch, prepared = await self._prepared(_still_there(batch))
                if not batch:
                    return []
                outcomes = await self._engine.do(self._compute, batch, prepared)
            _require_one_each(outcomes, batch)
        except MpaError as error:
            if len(batch) > 1:
                half = len(batch) // 2
                return [batch[half:], batch[:half]]
            batch[0].settle(error)
            return []
        later = []
        for pending, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Left):
                later.append(pending)
            else:
                pending.settle(outcome)
        if any(isinstance(outcome, Reply) for outcome in outcomes):
            self._replied()
        return [later]

    def _compute(self, batch: Sequence[PendingPrompt], prepared: Any) -> Sequence[Outcome] | None:
        """Runs on the engine's thread. None if too many callers left while the batch waited."""
        if len(batch) - len(_still_there(batch)) >= len(batch) * WORTH_PREPARING_AGAIN:
            return None
        self._batch = batch
        try:
            return list(self._run(prepared, batch[0].adapter))
        finally:
            self._batch = ()

    async def _prepared(self, batch: list[PendingPrompt]) -> tuple[list[PendingPrompt], Any]:
        """Prompts of a batch that can be prepared, and the input of `Run` made from them."""
        if self._prepare is None or not batch:
            return batch, _prompts(batch)
        try:
            return batch, await self._preparer.do(self._prepare, _prompts(batch))
        except MpaError:
            if len(batch) == 1:
                raise
        left = [pending for pending in batch if await self._can_be_prepared(pending)]
        return left, await self._preparer.do(self._prepare, _prompts(left)) if left else None

    async def _can_be_prepared(self, pending: PendingPrompt) -> bool:
        """Whether a prompt can be prepared; if not, its caller gets the reason."""
        assert self._prepare is not None
        if pending.is_over:
            return False
        try:
            await self._preparer.do(self._prepare, [pending.prompt])
        except MpaError as error:
            pending.settle(error)
            return False
        return True


def _require_one_each(outcomes: Sequence[Outcome], batch: Sequence[PendingPrompt]) -> None:
    if len(outcomes) != len(batch):
        raise EngineFailed(
            f"the engine gave {len(outcomes)} replies to {len(batch)} requests: its log may say why"
        )


def _prompts(batch: Sequence[PendingPrompt]) -> list[Prompt]:
    return [pending.prompt for pending in batch]


def _still_there(batch: Sequence[PendingPrompt]) -> list[PendingPrompt]:
    return [pending for pending in batch if not pending.is_over]
