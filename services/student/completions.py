"""Chat completions by the versions of a student: one lease for all choices of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from datetime import datetime
from functools import partial

from services import metrics
from services.core.errors import InvalidInput, NotFound
from services.core.tasks import answer_prompt
from services.engines.model import Prompt, Reply
from services.rpc.http.completions.choices import Hear, write
from services.rpc.http.completions.replies import Completed, ServedModel
from services.rpc.http.completions.request import ChatQuestion
from services.rpc.http.completions.routes import Listening, no_model
from services.rpc.images import ImageReceiver
from services.rpc.limits import check_question
from services.rpc.load_shedding import LoadShedder
from services.rpc.logs import conversation
from services.rpc.request_id import note
from services.student.endpoint import StudentEndpoint
from services.student.slot import Lease
from services.together import together

LIVE = "live"


class StudentCompletions:
    """The models behind the routes. `student` raises Unavailable until a version is loaded.

    Each choice counts as a request of its own for the load. `aliases`: names of the live version.
    """

    def __init__(
        self,
        student: Callable[[], StudentEndpoint],
        images: ImageReceiver,
        shedder: LoadShedder,
        aliases: Sequence[str] = (),
    ) -> None:
        self._student = student
        self._images = images
        self._shedder = shedder
        self._aliases = tuple(aliases)

    async def complete(
        self, asked: ChatQuestion, image: bytes, time_left_s: float, listening: Listening | None
    ) -> Completed:
        """Raises MpaError."""
        student = self._student()
        question = check_question(asked.question)
        await student.versions.pass_gate()
        with ExitStack() as admitted:
            for _ in range(asked.count):
                admitted.enter_context(self._shedder.admit(time_left_s))
            version = self._version(student, asked.model)
            loaded = await self._images.receive_sent(image)
            async with student.versions.lease(version) as lease:
                if listening is not None:
                    listening.began(lease.version)
                contract = lease.contract
                text = answer_prompt(question, contract.answer_template)
                prompts = [
                    Prompt(
                        loaded,
                        text,
                        decoding,
                        system=contract.system_prompt,
                        scored=asked.alternatives is not None,
                        alternatives=asked.alternatives,
                    )
                    for decoding in asked.decodings(contract.decoding)
                ]
                replies = await _write_all(lease, prompts, asked.stops, listening)
        note("version", lease.version)
        for reply in replies:
            metrics.replied(reply.usage)
            conversation(question, reply.text)
        if not version:
            student.samples.offer(loaded, question, replies[0].text, lease.version)
        return Completed(lease.version, replies)

    async def models(self) -> list[ServedModel]:
        """Loaded versions, then the pointers to them, then the aliases. Raises Unavailable."""
        student = self._student()
        return await asyncio.to_thread(_described, student, self._names(student))

    def _names(self, student: StudentEndpoint) -> dict[str, str]:
        """Names of the loaded versions: their own, the pointers to them, the aliases."""
        loaded = student.versions.loaded()
        pointers = student.versions.pointers
        pointed = asdict(pointers) | dict.fromkeys(self._aliases, pointers.live)
        return dict(zip(loaded, loaded, strict=True)) | {
            name: version for name, version in pointed.items() if version in loaded
        }

    def _version(self, student: StudentEndpoint, name: str) -> str:
        """The version that a request names; "" is the live one. Raises NotFound."""
        if name in ("", LIVE, *self._aliases):
            return ""
        names = self._names(student)
        if name not in names:
            raise no_model(name, list(names))
        return names[name]


async def _write_all(
    lease: Lease, prompts: Sequence[Prompt], stops: Sequence[str], listening: Listening | None
) -> list[Reply]:
    def hear(index: int) -> Hear | None:
        return None if listening is None else partial(listening.heard, index)

    if len(prompts) == 1:
        return [await write(lease.model, prompts[0], stops, hear(0))]
    async with together() as group:
        writing = [
            group.create_task(write(lease.model, prompt, stops, hear(index)))
            for index, prompt in enumerate(prompts)
        ]
    return [task.result() for task in writing]


def _described(student: StudentEndpoint, names: Mapping[str, str]) -> list[ServedModel]:
    models = []
    for name, version in names.items():
        with suppress(InvalidInput, NotFound):  # the disk has lost it
            manifest = student.store.manifest(version)
            made = datetime.fromisoformat(manifest.created_at)
            models.append(ServedModel(name, version, int(made.timestamp()), manifest.origin.parent))
    return models
