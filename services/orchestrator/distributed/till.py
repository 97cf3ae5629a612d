"""What all actors of a cluster ask before they ask a teacher: it holds the teacher cache and the budget.

So what a teacher has said is in the cache of the driver's machine before it is on its way home, and nobody spends what another
has reserved.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

from services.core.errors import BudgetSpent
from services.orchestrator.costs.budget import Budget, Limits, Paid
from services.orchestrator.costs.cache import Call, Reply
from services.orchestrator.costs.purse import own_purse
from services.rpc.client import AnnotationReply, AnswerReply, TeacherModel

Question: TypeAlias = tuple[str, tuple[object, ...]]
"""The name of a method, and its arguments."""
LOST_S = 300.0
"""Without any call that begins or settles: those under way died with the actors that made them."""


class Till:
    """Money that a lost actor had reserved stays so: its calls may have been billed."""

    def __init__(
        self,
        cache: Path | None,
        run: str,
        limits: Limits,
        billed_usd: float = 0.0,
        worked_s: float = 0.0,
        lost_s: float = LOST_S,
    ) -> None:
        self._budget, self._began_with_usd = Budget(limits, billed_usd, worked_s), billed_usd
        self._told: list[str] = []
        self._closing = ExitStack()
        self._purse = self._closing.enter_context(own_purse(cache, run, self._budget, self._told.append))
        self._moved, self._lost_s = time.monotonic(), lost_s
        self._is_spent = False

    async def answer(self, questions: Sequence[Question]) -> list[Any]:
        """What each comes to, or the error that it met."""
        asked = (getattr(self, name)(*arguments) for name, arguments in questions)
        return await asyncio.gather(*asked, return_exceptions=True)

    async def tell(self, notice: str) -> None:
        self._purse.tell(notice)

    async def model(self, fingerprint: str) -> TeacherModel:
        return await self._purse.model(fingerprint)

    async def known(self, key: bytes, kind: type[Reply]) -> Reply | None:
        return await self._purse.known(key, kind)

    async def keep(self, key: bytes, call: Call, model: TeacherModel, reply: AnnotationReply | AnswerReply) -> None:
        await self._purse.keep(key, call, model, reply)

    async def room(self, kind: str, bound_usd: float | None) -> float | None:
        """None: ask again. Once the budget is spent it stays so, and no call is under way: whoever hears of it may stop all."""
        if self._is_spent:
            raise self._budget.spent()
        try:
            usd = self._budget.room(kind, bound_usd)
            if usd is None and time.monotonic() - self._moved > self._lost_s:
                raise self._budget.spent()
        except BudgetSpent:
            self._is_spent = True
            raise
        if usd is not None:
            self._moved = time.monotonic()
        return usd

    async def settle(self, kind: str, usd: float, paid: Paid | None) -> None:
        self._moved = time.monotonic()
        await self._purse.settle(kind, usd, paid)

    async def close(self) -> tuple[float, list[str]]:
        """What was spent since it was opened, and what people should know."""
        self._closing.close()
        return self._budget.billed_usd - self._began_with_usd, self._told
