"""One question to the live version, the candidate and the teacher, and people's judgements."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from protos.mpa.v1 import types_pb2
from services.core.errors import ImageUnknown, InvalidInput, MpaError, NotFound, Overloaded
from services.core.provenance import FinishReason
from services.engines.images import sha256
from services.rpc.access.caller import the_caller
from services.rpc.http.completions.request import ChatQuestion
from services.rpc.images import ImageReceiver
from services.student.completions import LIVE, StudentCompletions
from services.student.production import Thumb
from services.student.servicers import ReadyEndpoint
from services.student.tryout.second_opinion import SecondOpinion
from services.student.tryout.shown import ShownAnswer, ShownAnswers
from services.together import together

CANDIDATE, TEACHER = "candidate", "teacher"
ALL = "all"
SHOWN_OF_FINGERPRINT = 12
"""Hexadecimal digits of the teacher's fingerprint."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question of `caller`, who waits `time_left_s`."""

    image: bytes
    text: str
    caller: str
    time_left_s: float


@dataclass(frozen=True, slots=True)
class Opinion:
    """The answer of one model. `model`: live, candidate or teacher."""

    model: str
    answer: str = ""
    version: str = ""
    seconds: float = 0.0
    """Time in this service, the decoding of the image included."""
    logprob: float | None = None
    """Natural logarithm of the answer's probability; None: unknown."""
    is_cut_off: bool = False
    """Whether the answer has reached the most tokens."""
    judged_as: str = ""
    """Name under which the answer may be judged; "" if it can't be."""
    trouble: str = ""
    """Reason why there is no answer."""

    @property
    def probability(self) -> float | None:
        return None if self.logprob is None else math.exp(min(0.0, self.logprob))

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"probability": self.probability}


class TryoutDesk:
    """The models that people may ask. `student` raises Unavailable until a version is loaded."""

    def __init__(
        self,
        student: ReadyEndpoint,
        completions: StudentCompletions,
        images: ImageReceiver,
        teacher: SecondOpinion | None = None,
    ) -> None:
        self._student = student
        self._completions = completions
        self._images = images
        self._teacher = teacher
        self._shown = ShownAnswers()

    async def models(self) -> list[str]:
        """Models that can be asked now. Raises Unavailable."""
        names = {model.name for model in await self._completions.models()}
        found = [LIVE, *(name for name in (CANDIDATE,) if name in names)]
        return [*found, TEACHER] if self._teacher else found

    async def ask(self, model: str, asked: Question) -> list[Opinion]:
        """The opinion of one model, or of all.

        Raises MpaError; of all models, only for the live version: others have a `trouble` then.
        """
        models = await self.models()
        if model != ALL:
            if model not in models:
                raise InvalidInput(
                    f"there is no model {model[:64]!r}: ask {', '.join([*models, ALL])}",
                    field="model",
                )
            return [await self._ask(model, asked)]
        async with together() as group:
            first = group.create_task(self._ask(LIVE, asked))
            others = [group.create_task(self._ask_gently(name, asked)) for name in models[1:]]
        return [first.result(), *(task.result() for task in others)]

    async def _ask_gently(self, model: str, asked: Question) -> Opinion:
        try:
            return await self._ask(model, asked)
        except MpaError as error:
            return Opinion(model, trouble=str(error))

    async def _ask(self, model: str, asked: Question) -> Opinion:
        began = time.monotonic()
        ask = self._ask_teacher if model == TEACHER else self._ask_student
        opinion = await ask(model, asked)
        return replace(opinion, seconds=time.monotonic() - began)

    async def _ask_student(self, model: str, asked: Question) -> Opinion:
        """A chat completion: it is admitted, counted and sampled as those of other callers."""
        chat = ChatQuestion(model, asked.text, alternatives=0)
        done = await self._completions.complete(chat, asked.image, asked.time_left_s, None)
        (reply,) = done.replies
        return Opinion(
            model,
            reply.text,
            done.version,
            logprob=reply.known_logprob,
            is_cut_off=reply.finish_reason == FinishReason.LENGTH,
            judged_as=await self._keep(asked, reply.text, done.version),
        )

    async def _keep(self, asked: Question, answer: str, version: str) -> str:
        """The name under which the answer may be judged; "" if this service keeps no samples."""
        if not self._student().samples.are_kept:
            return ""
        image = await asyncio.to_thread(sha256, asked.image)
        return self._shown.keep(ShownAnswer(asked.caller, image, asked.text, answer, version))

    async def _ask_teacher(self, model: str, asked: Question) -> Opinion:
        """Counts for the limits of the caller's key, as a question to the student does."""
        assert self._teacher is not None
        with the_caller().allowance.request():
            image = await self._images.receive_sent(asked.image)
            async with self._student().versions.lease() as lease:
                contract = lease.contract
            reply = await self._teacher.ask(image, asked.text, contract, asked.caller)
        reason = reply.provenance.finish_reason
        if reason in (FinishReason.REFUSAL, FinishReason.CONTENT_FILTER):
            return Opinion(model, trouble="the teacher's provider declined to answer")
        is_cut_off = reason == FinishReason.LENGTH
        version = reply.version[:SHOWN_OF_FINGERPRINT]
        return Opinion(model, reply.answer, version, is_cut_off=is_cut_off)

    async def judge(self, name: str, verdict: str, caller: str) -> ShownAnswer:
        """Keeps an answer as a sample, with people's verdict on it. Returns the answer.

        Raises InvalidInput; NotFound: no such answer, or its image is forgotten; Overloaded.
        """
        if verdict not in set(Thumb):
            raise InvalidInput(
                f"the verdict is {verdict[:64]!r}: give {' or '.join(Thumb)}", field="verdict"
            )
        shown = self._shown.find(name, caller)
        try:
            image = await self._images.receive(types_pb2.Image(sha256=shown.image_sha256))
        except ImageUnknown as error:
            raise NotFound(
                "the image of this answer is no longer in memory: ask again, and judge then",
                reason="ANSWER_NOT_FOUND",
            ) from error
        self._shown.find(name, caller)  # another judgement may have been faster
        if not self._student().samples.keep(
            image, shown.question, shown.answer, shown.version, Thumb(verdict)
        ):
            raise Overloaded("too many samples wait to be written: try again", limit="samples")
        self._shown.forget(name)
        return shown
