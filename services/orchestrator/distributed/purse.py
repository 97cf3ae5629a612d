"""The purse of a run on a cluster: whoever asks a teacher asks the till first, an actor beside the driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from services.orchestrator.costs.budget import NO_LIMITS, Limits, Paid
from services.orchestrator.costs.cache import Call, Reply
from services.orchestrator.distributed.till import Question, Till
from services.orchestrator.progress import Progress
from services.orchestrator.where import Where
from services.rpc.client import AnnotationReply, AnswerReply, TeacherModel

ASK_AGAIN_S = 0.2
CLOSING_S = 10.0


class SharedPurse:
    """What an actor knows of it. `till`: a handle.

    One question to the till is under way at a time; whatever is asked meanwhile travels together as the next one. It may be
    sent to another machine before it is first used.
    """

    def __init__(self, till: Any, limits: Limits, has_cache: bool) -> None:
        self._till = till
        self.limits, self.has_cache = limits, has_cache
        self._waiting: list[tuple[Question, asyncio.Future[Any]]] = []
        self._sending: asyncio.Task[None] | None = None

    def tell(self, notice: str) -> None:
        self._till.answer.remote([("tell", (notice,))])

    async def model(self, fingerprint: str) -> TeacherModel:
        found: TeacherModel = await self._ask("model", fingerprint)
        return found

    async def known(self, key: bytes, kind: type[Reply]) -> Reply | None:
        found: Reply | None = await self._ask("known", key, kind)
        return found

    async def keep(self, key: bytes, call: Call, model: TeacherModel, reply: AnnotationReply | AnswerReply) -> None:
        await self._ask("keep", key, call, model, reply)

    async def reserve(self, kind: str, bound_usd: float | None) -> float:
        """Who has to wait does so here, and asks again."""
        while (usd := await self._ask("room", kind, bound_usd)) is None:  # noqa: ASYNC110
            await asyncio.sleep(ASK_AGAIN_S)
        return float(usd)

    async def settle(self, kind: str, usd: float, paid: Paid | None) -> None:
        await self._ask("settle", kind, usd, paid)

    async def _ask(self, name: str, *arguments: object) -> Any:
        """Raises what the till does."""
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(((name, arguments), answer))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())
        return await answer

    async def _send(self) -> None:
        while waiting := self._waiting:
            self._waiting = []
            try:
                answers = await self._till.answer.remote([question for question, _ in waiting])
            except RayError as error:
                answers = [error] * len(waiting)
            for (_, future), answer in zip(waiting, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)


@asynccontextmanager
async def shared_purse(where: Where, progress: Progress) -> AsyncIterator[SharedPurse | None]:
    """None where there is neither a cache nor a budget. What was spent is on the budget of `where` afterwards."""
    budget, limits = where.budget, where.budget.limits if where.budget else NO_LIMITS
    if where.cache is None and budget is None:
        yield None
        return
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    began_with = (budget.billed_usd, budget.worked_s) if budget else (0.0, 0.0)
    till = ray.remote(num_cpus=0)(Till).options(scheduling_strategy=here).remote(where.cache, where.run, limits, *began_with)
    try:
        yield SharedPurse(till, limits, where.cache is not None)
    finally:
        try:  # not awaited: a wait that is called off would outlive the connection to the cluster
            spent_usd, told = ray.get(till.close.remote(), timeout=CLOSING_S)
        except RayError:
            progress.note("the cluster is gone, and with it what the teacher cache had not written yet")
        else:
            if budget:
                budget.bill(spent_usd)
            for notice in told:
                progress.note(notice)
