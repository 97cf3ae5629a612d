"""Annotate and answer photos of mixed sizes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from benchmarks import photos
from benchmarks.gpu_check.models import Models
from benchmarks.gpu_check.outcome import Figure
from services.core.decoding import Decoding
from services.core.provenance import Provenance
from services.core.tasks import TASKS
from services.rpc.client import Picture, StudentClient, TeacherClient

TASK = "textvqa"
ANNOTATION_TOKENS, ANSWER_TOKENS = 64, 16
"""Longest replies: random weights rarely end one."""
MEGA = 1e6


async def annotate(models: Models) -> list[Figure]:
    """The teacher writes one annotation for each photo."""
    teacher = await models.teacher()
    prompt = TASKS[TASK].annotation_prompt
    async with TeacherClient(teacher.address) as client:

        async def one(number: int, picture: Picture) -> Provenance:
            decoding = Decoding(1.0, max_new_tokens=ANNOTATION_TOKENS, seed=number)
            return (await client.annotate(picture, TASK, prompt, decoding)).provenance

        return await _each(models, one, "annotations")


async def answer(models: Models) -> list[Figure]:
    """The student answers one question about each photo."""
    student = await models.student()
    async with StudentClient(student.address) as client:

        async def one(number: int, picture: Picture) -> Provenance:
            question = photos.QUESTIONS[number % len(photos.QUESTIONS)]
            decoding = Decoding(max_new_tokens=ANSWER_TOKENS)
            return (await client.answer(picture, question, decoding=decoding)).provenance

        return await _each(models, one, "answers")


async def _each(
    models: Models, ask: Callable[[int, Picture], Awaitable[Provenance]], name: str
) -> list[Figure]:
    files = await asyncio.to_thread(photos.photos, models.scale.photos, models.scale.student)
    pictures = [Picture.of(file.read_bytes()) for file in files]
    began = time.perf_counter()
    replies = await asyncio.gather(*(ask(number, one) for number, one in enumerate(pictures)))
    seconds = time.perf_counter() - began
    return _figures(name, replies, seconds, sum(len(one.data) for one in pictures))


def _figures(name: str, replies: Sequence[Provenance], seconds: float, sent: int) -> list[Figure]:
    prompts = [reply.usage.prompt_tokens for reply in replies]
    written = sum(reply.usage.completion_tokens for reply in replies)
    conditions = f"{len(replies)} photos of {sent / MEGA:.1f} MB in {seconds:.1f} s"
    return [
        Figure(f"{name}/s", len(replies) / seconds, name, conditions),
        Figure("prompt tokens/s", sum(prompts) / seconds, "tokens", f"at most {max(prompts)} each"),
        Figure("written tokens/s", written / seconds, "tokens"),
    ]
