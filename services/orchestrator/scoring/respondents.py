"""Respondents: a version of a student service, a teacher service, or a chat completions API."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.core.decoding import Decoding
from services.core.errors import WrongState
from services.core.pixels import UNLIMITED, PixelBudget
from services.core.provenance import FinishReason
from services.core.tasks import answer_prompt
from services.core.usage import NO_USAGE, Usage
from services.engines.images import load_image
from services.engines.model import (
    Prompt,
    VisionLanguageModel,
)
from services.environment import Environment
from services.orchestrator.endpoints import connect
from services.orchestrator.endpoints.where import Where
from services.orchestrator.run.bounded import FEWEST
from services.orchestrator.run.progress import Progress
from services.rpc.client import AnswerReply, Picture, Student, Teacher


@dataclass(frozen=True, slots=True)
class Said:
    """An answer. `by`: weights sha256 or fingerprint of the model."""

    answer: str
    by: str
    finish_reason: FinishReason
    usage: Usage = NO_USAGE


class Respondent(Protocol):
    @property
    def name(self) -> str:
        """Name for people, such as "student v2"."""

    @property
    def pixel_budget(self) -> PixelBudget:
        """Most pixels of an image that it uses."""

    @property
    def in_flight(self) -> int:
        """Most questions that it takes at a time."""

    async def answer(
        self, picture: Picture, question: str, template: str, decoding: Decoding
    ) -> Said:
        """Answer a question. Raises the MpaErrors of the service."""


@dataclass(frozen=True, slots=True)
class StudentRespondent:
    client: Student
    version: str
    weights_sha256: str
    pixel_budget: PixelBudget = UNLIMITED

    @property
    def name(self) -> str:
        return f"student {self.version}"

    @property
    def in_flight(self) -> int:
        return self.client.in_flight

    async def answer(
        self, picture: Picture, question: str, template: str, decoding: Decoding
    ) -> Said:
        reply = await self.client.answer(picture, question, template, decoding, self.version)
        if reply.version != self.version:
            raise WrongState(
                f"version {reply.version!r} answered, not {self.version!r} as asked: "
                "start the student that has it"
            )
        return _said(reply, self.weights_sha256 or self.version)


@dataclass(frozen=True, slots=True)
class TeacherRespondent:
    client: Teacher
    pixel_budget: PixelBudget = UNLIMITED

    @property
    def name(self) -> str:
        return "teacher"

    @property
    def in_flight(self) -> int:
        return self.client.in_flight

    async def answer(
        self, picture: Picture, question: str, template: str, decoding: Decoding
    ) -> Said:
        reply = await self.client.answer(picture, question, template, decoding)
        return _said(reply, reply.version)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Any server of chat completions, set by OPENAI_BASE_URL and OPENAI_API_KEY."""

    model: VisionLanguageModel
    name: str
    pixel_budget: PixelBudget = UNLIMITED
    in_flight: int = FEWEST

    async def answer(
        self, picture: Picture, question: str, template: str, decoding: Decoding
    ) -> Said:
        image = load_image(picture.data)
        reply = await self.model.generate(
            Prompt(image, answer_prompt(question, template), decoding)
        )
        return Said(reply.text, self.model.fingerprint, reply.finish_reason, reply.usage)


def _said(reply: AnswerReply, by: str) -> Said:
    return Said(reply.answer, by, reply.provenance.finish_reason, reply.provenance.usage)


@dataclass(frozen=True, slots=True)
class RespondentChoice:
    """The choice of a respondent: a service in `where` (`role`), or a `model` of an endpoint.

    `version`: "" is the live one. `weights_sha256`: of its weights; "" if any will do. `folder`:
    that of the run whose student `where` starts, if any.
    """

    where: Where
    role: str = ""
    version: str = ""
    model: str = ""
    folder: Path = Path()
    weights_sha256: str = ""


@asynccontextmanager
async def respondent(asked: RespondentChoice, progress: Progress) -> AsyncIterator[Respondent]:
    """Connect to a respondent.

    Raises NotFound (no such version), WrongState (other weights; no memory to load it),
    Unavailable.
    """
    if asked.model:
        async with _endpoint(asked.model) as endpoint:
            yield endpoint
    elif asked.role == "teacher":
        async with connect.teacher_only(asked.where, asked.folder, progress) as teacher:
            model = await teacher.model()
            yield TeacherRespondent(teacher, PixelBudget.of(model.pixel_budget if model else ""))
    else:
        async with connect.student_only(asked.where, asked.folder, progress) as student:
            found = await student.version(asked.version or (await student.pointers()).live)
            if asked.weights_sha256 not in ("", found.weights_sha256):
                raise WrongState(
                    f"version {found.name} at {student.address} has other weights than the one "
                    "that was trained under this name: name the student that has them, or train "
                    "it again in another folder"
                )
            if not found.is_loaded:
                await student.load(found.name)
            budget = PixelBudget.of(found.contract.pixel_budget)
            yield StudentRespondent(student, found.name, found.weights_sha256, budget)


@asynccontextmanager
async def _endpoint(model: str) -> AsyncIterator[Endpoint]:
    from services.engines.openai import engine
    from services.engines.openai.settings import OpenAISettings

    settings = OpenAISettings.from_environment(Environment("MPA_TEACHER_", os.environ))
    loaded = await engine.load(model, settings)
    try:
        yield Endpoint(loaded, model)
    finally:
        await loaded.close()
