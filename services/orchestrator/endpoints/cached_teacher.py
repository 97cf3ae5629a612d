"""A teacher that is asked only what isn't known yet, and only while there is budget for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from services.core.decoding import Decoding
from services.core.errors import Pending
from services.core.tasks import ANSWER_TEMPLATE, answer_prompt
from services.orchestrator.endpoints.budget import NO_LIMITS
from services.orchestrator.endpoints.cache import Call, Reply
from services.orchestrator.endpoints.panel import Panel, panel_of
from services.orchestrator.endpoints.spending import Purse, reserved
from services.rpc.client import AnnotationReply, AnswerReply, Picture, TeacherClient, TeacherModel

AWAY = "cache:"


def thrifty(teacher: TeacherClient, purse: Purse) -> TeacherClient:
    """Every member of a panel by itself."""
    members = [ThriftyTeacher(member, purse) for member in panel_of(teacher)]
    return Panel(members) if len(members) > 1 else members[0]


class ThriftyTeacher(TeacherClient):
    """In front of a TeacherClient: looks into the cache first, and reserves in the budget what it has to ask for.

    The address "cache:FINGERPRINT" is no service: a teacher that is away and answers what the cache knows of it.
    """

    def __init__(self, teacher: TeacherClient, purse: Purse) -> None:
        self._teacher, self._purse = teacher, purse
        self.connection = teacher.connection
        self._is_away = self.connection.address.startswith(AWAY)
        self._met: TeacherModel | None = None
        self._is_met = not (self._is_away or purse.has_cache or purse.limits != NO_LIMITS)
        self._meeting = asyncio.Lock()

    async def ready(self) -> None:
        """Raises NotFound, too: the cache knows no teacher of that name."""
        if self._is_away:
            await self._meet()
        else:
            await self._teacher.ready()

    async def model(self) -> TeacherModel | None:
        if self._is_away:
            return self._purse.model(self.connection.address.removeprefix(AWAY))
        return await self._teacher.model()

    async def annotate(
        self, picture: Picture, task: str, prompt: str, decoding: Decoding, *, guided: bool = False
    ) -> AnnotationReply:
        call = Call("annotate", picture.sha256, task, prompt, decoding, guided)
        ask = self._teacher.annotate
        return await self._reply(
            call, AnnotationReply, lambda: ask(picture, task, prompt, decoding, guided=guided)
        )

    async def answer(
        self, picture: Picture, question: str, template: str, decoding: Decoding
    ) -> AnswerReply:
        text = answer_prompt(question, template or ANSWER_TEMPLATE)
        call = Call("answer", picture.sha256, question, text, decoding)
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
        if (
            model and key and by == model.fingerprint
        ):  # the service may have been replaced by another
            self._purse.keep(key, call, model, reply)
        return reply

    async def _meet(self) -> TeacherModel | None:
        """Which model it is: known before its first reply. Asked once a command; another model's replies tell on themselves."""
        if self._is_met:
            return self._met
        async with self._meeting:
            if not self._is_met:
                self._met, self._is_met = await self.model(), True
                if self._met is None and self._purse.has_cache:
                    self._purse.tell(
                        f"the teacher at {self.connection.address} is of an older version and can't say beforehand which model "
                        "it is: going on without a cache"
                    )
        return self._met

    async def _paid(
        self, call: Call, model: TeacherModel | None, ask: Callable[[], Awaitable[Reply]]
    ) -> Reply:
        if self._is_away:
            raise Pending(
                "what they need is not in the cache, and the teacher is away: name its address to ask it"
            )
        limits = self._purse.limits
        if limits == NO_LIMITS:
            return await ask()
        tariff = model.tariff if model else None
        limits.require_price(tariff is not None, f"the teacher at {self.connection.address}")
        bound_usd = tariff.bound_usd(call.text, call.decoding.max_new_tokens) if tariff else 0.0
        async with reserved(self._purse, call.kind, bound_usd) as settle:
            reply = await ask()
            settle(reply.provenance.usage.cost_usd)
        return reply
