"""A teacher that gets only questions without a known answer, within a budget."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

from services.core.decoding import Decoding
from services.core.errors import Pending
from services.core.tasks import ANSWER_TEMPLATE, answer_prompt
from services.orchestrator.endpoints.budget import NO_LIMITS
from services.orchestrator.endpoints.call import Call, Reply
from services.orchestrator.endpoints.panel import seated
from services.orchestrator.endpoints.spending import Purse, reserved
from services.rpc.client import AnnotationReply, AnswerReply, Picture, Teacher, TeacherModel

AWAY = "cache:"


def cached(teachers: Sequence[Teacher], purse: Purse) -> Teacher:
    """One teacher or a panel of several, each behind the cache and the budget."""
    return seated([CachedTeacher(teacher, purse) for teacher in teachers])


class CachedTeacher:
    """A teacher behind the cache and the budget: only unknown replies are asked for, and paid.

    The address "cache:FINGERPRINT" is no service: such a teacher is unreachable, and only the cache
    answers for it.
    """

    def __init__(self, teacher: Teacher, purse: Purse) -> None:
        self._teacher = teacher
        self._purse = purse
        self._is_away = self.address.startswith(AWAY)
        self._met: TeacherModel | None = None
        self._is_met = not (self._is_away or purse.has_cache or purse.limits != NO_LIMITS)
        self._meeting = asyncio.Lock()

    @property
    def address(self) -> str:
        return self._teacher.address

    @property
    def in_flight(self) -> int:
        return self._teacher.in_flight

    async def __aenter__(self) -> Self:
        await self._teacher.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._teacher.__aexit__(*error)

    async def ready(self) -> None:
        """Raises Unavailable, or NotFound if the cache knows no teacher of that name."""
        if self._is_away:
            await self._meet()
        else:
            await self._teacher.ready()

    async def model(self) -> TeacherModel | None:
        if self._is_away:
            return self._purse.model(self.address.removeprefix(AWAY))
        return await self._teacher.model()

    async def annotate(
        self, picture: Picture, task: str, prompt: str, decoding: Decoding, *, guided: bool = False
    ) -> AnnotationReply:
        call = Call("annotate", picture.sent_sha256, task, prompt, decoding, guided)
        ask = self._teacher.annotate
        return await self._reply(
            call, AnnotationReply, lambda: ask(picture, task, prompt, decoding, guided=guided)
        )

    async def answer(
        self, picture: Picture, question: str, template: str, decoding: Decoding
    ) -> AnswerReply:
        text = answer_prompt(question, template or ANSWER_TEMPLATE)
        call = Call("answer", picture.sent_sha256, question, text, decoding)
        ask = self._teacher.answer
        return await self._reply(
            call, AnswerReply, lambda: ask(picture, question, template, decoding)
        )

    async def _reply(
        self, call: Call, kind: type[Reply], ask: Callable[[], Awaitable[Reply]]
    ) -> Reply:
        model = await self._meet()
        key = call.key(model) if model and self._purse.has_cache else b""
        known = self._purse.known(key, kind) if key else None
        if known is not None:
            return known
        reply = await self._paid(call, model, ask)
        by = reply.model_fingerprint if isinstance(reply, AnnotationReply) else reply.version
        # The service may have been replaced by another one.
        if model and key and by == model.fingerprint:
            self._purse.keep(key, call, model, reply)
        return reply

    async def _meet(self) -> TeacherModel | None:
        """The teacher's model, asked once per command; the replies of another model show it."""
        if self._is_met:
            return self._met
        async with self._meeting:
            if not self._is_met:
                self._met = await self.model()
                self._is_met = True
                if self._met is None and self._purse.has_cache:
                    self._purse.tell(
                        f"the teacher at {self.address} is of an older version and can't state its "
                        "model in advance: going on without a cache"
                    )
        return self._met

    async def _paid(
        self, call: Call, model: TeacherModel | None, ask: Callable[[], Awaitable[Reply]]
    ) -> Reply:
        if self._is_away:
            raise Pending(
                "the cache lacks their replies, and the teacher is unreachable: name its address"
            )
        limits = self._purse.limits
        if limits == NO_LIMITS:
            return await ask()
        tariff = model.tariff if model else None
        limits.require_price(tariff is not None, f"the teacher at {self.address}")
        bound_usd = tariff.bound_usd(call.text, call.decoding.max_new_tokens) if tariff else 0.0
        async with reserved(self._purse, call.kind, bound_usd) as settle:
            reply = await ask()
            settle(reply.provenance.usage.cost_usd)
        return reply
