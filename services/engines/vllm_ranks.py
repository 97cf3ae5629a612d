"""Copies of one model in one vLLM engine (data parallelism), each on its own GPUs.

vLLM sends a command (pause, reload, add an adapter) to every copy, and a request to one. An image
stays on one copy (core/rendezvous.py), whose caches then hit. A copy that hangs is noticed by its
own watchdog: replies of the others say nothing about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from services.core.rendezvous import choose
from services.engines.model import Prompt, Reply
from services.engines.watchdog import Watchdog


class Ranks:
    """The copies of one engine, each with its requests under way and its watchdog."""

    def __init__(
        self,
        count: int,
        patience_s: float,
        ask: Callable[[Prompt], Awaitable[object]],
        die: Callable[[str], None],
    ) -> None:
        self.count = count
        self.asking: set[asyncio.Task[Reply]] = set()
        self._loads = {str(rank): 0 for rank in range(count)}
        self._written = [0] * count
        self._watchdogs = [
            Watchdog(patience_s, partial(_ask_rank, ask, rank), partial(self._blame, die, rank))
            for rank in range(count)
        ]

    def start(
        self, prompt: Prompt, answer: Callable[[Prompt], Coroutine[Any, Any, Reply]]
    ) -> asyncio.Task[Reply]:
        """Start a request on its copy."""
        entered = self.enter(prompt)
        asking = asyncio.create_task(answer(entered))
        self.asking.add(asking)
        asking.add_done_callback(self.asking.discard)
        asking.add_done_callback(lambda _: self.leave(entered))
        return asking

    def enter(self, prompt: Prompt) -> Prompt:
        """Count a request, and name the copy that answers it."""
        rank = prompt.rank
        if rank is None:
            rank = int(choose(prompt.image.sha256, self._loads))
        self._loads[str(rank)] += 1
        self._watchdogs[rank].asked()
        return replace(prompt, rank=rank)

    def leave(self, prompt: Prompt) -> None:
        """Count the end of a request that has entered."""
        self._loads[str(prompt.rank)] -= 1

    def replied(self, prompt: Prompt) -> None:
        """Note a reply to a request that has not left yet."""
        assert prompt.rank is not None
        others_wait = self._loads[str(prompt.rank)] > 1
        self._watchdogs[prompt.rank].replied(others_wait=others_wait)

    def rest(self) -> None:
        """Nothing is under way, and a paused engine answers no canary."""
        for watchdog in self._watchdogs:
            watchdog.replied(others_wait=False)

    def beat(self, written: Mapping[int, int]) -> None:
        """Note the tokens that each copy has written for the requests under way."""
        for rank, watchdog in enumerate(self._watchdogs):
            if written.get(rank, 0) != self._written[rank]:
                watchdog.beat()
            self._written[rank] = written.get(rank, 0)

    def end(self) -> None:
        """Watch no more, and cancel the requests under way."""
        for watchdog in self._watchdogs:
            watchdog.stop()
        for asking in tuple(self.asking):
            asking.cancel()

    def _blame(self, die: Callable[[str], None], rank: int, reason: str) -> None:
        die(reason if self.count == 1 else f"copy {rank + 1} of {self.count}: {reason}")


def _ask_rank(
    ask: Callable[[Prompt], Awaitable[object]], rank: int, canary: Prompt
) -> Awaitable[object]:
    return ask(replace(canary, rank=rank))
