"""A caller who asks all the time, and checks each answer against the version that it names."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks.faults.promised import Promised
from benchmarks.images import tiny_png
from services.core.errors import MpaError
from services.engines.fake import FakeModel, answer_of
from services.rpc.client.replies import Picture
from services.rpc.client.student import StudentClient

PAUSE_S = 0.02
QUESTIONS = [f"what color is thing {number}?" for number in range(16)]
PICTURES = [Picture.of(tiny_png(number)) for number in range(4)]


class Asker:
    """Asks one replica. `is_follower`: it may answer by an older version for a moment."""

    def __init__(
        self, client: StudentClient, store: Path, promised: Promised, *, is_follower: bool
    ) -> None:
        self._client = client
        self._store = store
        self._promised = promised
        self._is_follower = is_follower
        self._skills: dict[str, FakeModel] = {}
        self.is_patient = True
        """Whether errors are expected now, because a fault is under way."""
        self.answered = asyncio.Event()
        self.violations: list[str] = []

    async def go_on(self) -> None:
        """Ask until cancelled."""
        number = 0
        while True:
            number += 1
            await self._ask(PICTURES[number % len(PICTURES)], QUESTIONS[number % len(QUESTIONS)])
            await asyncio.sleep(PAUSE_S)

    async def _ask(self, picture: Picture, question: str) -> None:
        is_patient = self.is_patient
        with self._promised.question() as allowed:
            try:
                reply = await self._client.answer(picture, question, retry=False)
            except MpaError as error:
                if not (is_patient or self.is_patient):
                    self.violations.append(f"a question failed without a fault: {error}")
                return
        self.answered.set()
        if not self._is_follower and reply.version not in allowed:
            self.violations.append(
                f"version {reply.version} answered, and {sorted(allowed)} may be live"
            )
        expected = answer_of(await self._model(reply.version), picture.sha256, question)
        if reply.answer != expected:
            self.violations.append(
                f"{reply.version} answered {reply.answer!r} to {question!r}, not {expected!r}"
            )

    async def _model(self, version: str) -> FakeModel:
        if version not in self._skills:
            folder = self._store / "versions" / version
            self._skills[version] = await asyncio.to_thread(FakeModel.read, folder)
        return self._skills[version]
