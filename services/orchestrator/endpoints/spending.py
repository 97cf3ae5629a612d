"""Means of asking a teacher: the cache of its replies, and the budget for the rest."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from services.core.errors import BadReply, MpaError, NotFound, Pending
from services.orchestrator.endpoints.budget import NO_LIMITS, Budget, Limits, Paid
from services.orchestrator.endpoints.cache import Cache
from services.orchestrator.endpoints.call import Call, Reply
from services.rpc.client import AnnotationReply, AnswerReply, TeacherModel
from services.rpc.connection import Notice


class Purse:
    """Cache and budget of a command.

    A cache that fails is dropped: the run goes on and pays for more.
    """

    def __init__(self, cache: Cache | None, budget: Budget | None, notice: Notice) -> None:
        self._cache = cache
        self._budget = budget
        self._notice = notice
        self._told: set[str] = set()

    @property
    def has_cache(self) -> bool:
        return self._cache is not None

    @property
    def limits(self) -> Limits:
        """The budget's limits; NO_LIMITS if nothing needs to be reserved."""
        return self._budget.limits if self._budget else NO_LIMITS

    def tell(self, notice: str) -> None:
        """Gives people a notice, once."""
        if notice not in self._told:
            self._told.add(notice)
            self._notice(notice)

    def model(self, fingerprint: str) -> TeacherModel:
        """An unreachable teacher, as the cache knows it. Raises NotFound."""
        if self._cache is None:
            raise NotFound(
                f"a teacher at cache:{fingerprint} needs a cache: "
                "leave out --no-cache, or name its address"
            )
        return self._cache.model(fingerprint)

    def known(self, key: bytes, kind: type[Reply]) -> Reply | None:
        with self._giving_up():
            return self._cache.get(key, kind) if self._cache else None
        return None

    def keep(
        self, key: bytes, call: Call, model: TeacherModel, reply: AnnotationReply | AnswerReply
    ) -> None:
        with self._giving_up():
            if self._cache:
                self._cache.put(key, call, model, reply)

    async def reserve(self, kind: str, bound_usd: float | None) -> float:
        """Reserves dollars in the budget, if there is one."""
        return await self._budget.reserve(kind, bound_usd) if self._budget else 0.0

    async def settle(self, kind: str, usd: float, paid: Paid | None) -> None:
        """Settles a reservation in the budget, if there is one."""
        if self._budget:
            await self._budget.settle(kind, usd, paid)

    def close(self) -> None:
        with self._giving_up():
            if self._cache:
                self._cache.flush()
        if self._cache:
            self._cache.close()

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            assert self._cache is not None
            self.tell(
                f"the teacher cache {self._cache.path} can't be used ({error}): going on without it"
            )
            self._cache.close()
            self._cache = None


@asynccontextmanager
async def reserved(
    purse: Purse | Budget, kind: str, bound_usd: float | None
) -> AsyncIterator[Callable[[float], None]]:
    """Room for one call. The yielded function takes its actual cost. Raises as Budget.room does."""
    usd = await purse.reserve(kind, bound_usd)
    began = time.monotonic()
    paid: Paid | None = Paid(0.0)

    def settle(cost_usd: float) -> None:
        nonlocal paid
        paid = Paid(cost_usd, time.monotonic() - began)

    try:
        yield settle
    except (Pending, BadReply):
        paid = None  # will be billed: a provider's batch, or an unusable reply
        raise
    finally:
        await purse.settle(kind, usd, paid)


@contextmanager
def open_purse(
    cache: Path | None, run: str, budget: Budget | None, notice: Notice
) -> Iterator[Purse]:
    """Opens the cache, if one is named. `run`: id of the run that pays."""
    purse = Purse(_opened(cache, run, notice), budget, notice)
    try:
        yield purse
    finally:
        purse.close()


def _opened(path: Path | None, run: str, notice: Notice) -> Cache | None:
    try:
        return Cache(path, run) if path else None
    except MpaError as error:
        notice(f"{error}; going on without a cache")
        return None
