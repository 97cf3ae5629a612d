"""A teacher that is asked only what isn't known yet, and only while there is budget for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from types import TracebackType

from services.core.decoding import Decoding
from services.core.errors import MpaError, NotFound, Pending
from services.core.tasks import ANSWER_TEMPLATE, answer_prompt
from services.orchestrator.costs.cache import Cache, Call, Reply
from services.orchestrator.where import Where
from services.rpc.client import AnnotationReply, AnswerReply, Picture, TeacherClient, TeacherModel
from services.rpc.connection import Notice

AWAY = "cache:"


class ThriftyTeacher(TeacherClient):
    """A TeacherClient that looks into the cache first, and reserves in the budget what it has to ask for.

    The address "cache:FINGERPRINT" is no service: a teacher that is away and answers what the cache knows of it. Raises
    NotFound where that is no model.
    """

    def __init__(self, address: str, where: Where, notice: Notice) -> None:
        super().__init__(address, patience_s=where.patience_s, notice=notice)
        self._notice = notice
        self._cache = self._opened(where)
        self._budget = where.budget
        self._is_away = address.startswith(AWAY)
        self._met = self._remembered(address.removeprefix(AWAY)) if self._is_away else None
        self._is_met = self._is_away or (self._cache is None and self._budget is None)
        self._meeting = asyncio.Lock()

    def _opened(self, where: Where) -> Cache | None:
        try:
            return Cache(where.cache) if where.cache else None
        except MpaError as error:
            self._notice(f"{error}; going on without a cache")
            return None

    def _remembered(self, fingerprint: str) -> TeacherModel:
        if self._cache is None:
            raise NotFound(f"a teacher at {AWAY}{fingerprint} needs a cache: leave out --no-cache, or name its address")
        return self._cache.model(fingerprint)

    async def ready(self) -> None:
        if not self._is_away:
            await super().ready()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cache is not None:
            try:
                self._cache.flush()
            except sqlite3.Error as failure:
                self._give_up(failure)
            else:
                self._cache.close()
        await super().__aexit__(kind, error, trace)

    async def annotate(
        self, picture: Picture, task: str, prompt: str, decoding: Decoding, *, guided: bool = False
    ) -> AnnotationReply:
        call = Call("annotate", picture.sha256, task, prompt, decoding, guided)
        ask = super().annotate
        return await self._reply(call, AnnotationReply, lambda: ask(picture, task, prompt, decoding, guided=guided))

    async def answer(self, picture: Picture, question: str, template: str, decoding: Decoding) -> AnswerReply:
        text = answer_prompt(question, template or ANSWER_TEMPLATE)
        call = Call("answer", picture.sha256, question, text, decoding)
        ask = super().answer
        return await self._reply(call, AnswerReply, lambda: ask(picture, question, template, decoding))

    async def _reply(self, call: Call, kind: type[Reply], ask: Callable[[], Awaitable[Reply]]) -> Reply:
        model = await self._meet()
        key = call.key(model) if model and self._cache else b""
        known = self._look_up(key, kind)
        if known is not None:
            return known
        reply = await self._paid(call, model, ask)
        by = reply.model_fingerprint if isinstance(reply, AnnotationReply) else reply.version
        if model and by == model.fingerprint:  # the service may have been replaced by another
            self._keep(key, call, model, reply)
        return reply

    async def _meet(self) -> TeacherModel | None:
        """Which model it is: known before its first reply. Asked once a command; another model's replies tell on themselves."""
        if self._is_met:
            return self._met
        async with self._meeting:
            if not self._is_met:
                self._met, self._is_met = await self.model(), True
                if self._met is None and self._cache is not None:
                    self._notice(
                        f"the teacher at {self.connection.address} is of an older version and can't say beforehand which model "
                        "it is: going on without a cache"
                    )
        return self._met

    def _look_up(self, key: bytes, kind: type[Reply]) -> Reply | None:
        try:
            return self._cache.get(key, kind) if self._cache and key else None
        except sqlite3.Error as error:
            self._give_up(error)
            return None

    def _keep(self, key: bytes, call: Call, model: TeacherModel, reply: AnnotationReply | AnswerReply) -> None:
        try:
            if self._cache and key:
                self._cache.put(key, call, model, reply)
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: sqlite3.Error) -> None:
        assert self._cache is not None
        self._notice(f"the teacher cache {self._cache.path} can't be used ({error}): going on without it")
        self._cache.close()
        self._cache = None

    async def _paid(self, call: Call, model: TeacherModel | None, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        if self._is_away:
            raise Pending("what they need is not in the cache, and the teacher is away: name its address to ask it")
        if self._budget is None:
            return await ask()
        tariff = model.tariff if model else None
        self._budget.require_price(tariff is not None, f"the teacher at {self.connection.address}")
        bound_usd = tariff.bound_usd(call.text, call.decoding.max_new_tokens) if tariff else 0.0
        async with self._budget.reserved(call.kind, bound_usd) as settle:
            reply = await ask()
            settle(reply.provenance.usage.cost_usd)
        return reply
