"""Traffic on the endpoint while it swaps: clients that ask without pause and count failures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Self

from services.core.errors import MpaError
from services.rpc.client import Picture, Student

CLIENTS = 16


@dataclass(frozen=True, slots=True)
class TrafficQuestion:
    picture: Picture
    question: str


class Traffic:
    """Asks the live version as users do: no pinned version, no retry, so that no failure is hidden.

    An answer counts as failed if the call failed, if it names neither version, or if it
    was asked for after the swap and the old version gave it.
    """

    def __init__(
        self, student: Student, questions: Sequence[TrafficQuestion], before: str, after: str
    ) -> None:
        self._student = student
        self._questions = cycle(questions)
        self._before = before
        self._after = after
        self._is_swapped = self._is_over = False
        self.requests = self.failed = 0
        self.first_failure = ""

    async def __aenter__(self) -> Self:
        self._clients = [asyncio.create_task(self._ask()) for _ in range(CLIENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        await asyncio.gather(*self._clients)

    def swapped(self) -> None:
        self._is_swapped = True

    async def flow(self, requests: int, at_most_s: float) -> None:
        """Returns once that many more requests are answered, or the time is over."""
        goal = self.requests + requests
        loop = asyncio.get_running_loop()
        until = loop.time() + at_most_s
        while self.requests < goal and loop.time() < until:  # noqa: ASYNC110 (ends by time, too)
            await asyncio.sleep(0.02)

    async def _ask(self) -> None:
        while not self._is_over:
            asked = next(self._questions)
            allowed = {self._after} if self._is_swapped else {self._before, self._after}
            try:
                reply = await self._student.answer(asked.picture, asked.question, retry=False)
                trouble = "" if reply.version in allowed else f"version {reply.version!r} answered"
            except MpaError as error:
                trouble = str(error)
            self.requests += 1
            self.failed += bool(trouble)
            self.first_failure = self.first_failure or trouble
            if trouble:
                await asyncio.sleep(0.05)
