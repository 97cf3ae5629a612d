"""A watchdog that distinguishes a slow engine from one that no longer answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from PIL import Image

from services.core.decoding import Decoding
from services.core.errors import InvalidInput
from services.engines.images import LoadedImage
from services.engines.model import Prompt

CANARY = Prompt(
    LoadedImage("0" * 64, Image.new("RGB", (32, 32), "gray")),
    "What is this?",
    Decoding(max_new_tokens=1),
)

_log = logging.getLogger(__name__)


class Watchdog:
    """Asks a canary if requests wait and the engine makes no progress for `patience_s`.

    A reply is progress; so is a `beat`, a step of a long computation. An engine whose canary
    fails, or waits for `patience_s` without progress, is dead: `die` is called with the reason.
    `patience_s` 0 turns the watchdog off.
    """

    def __init__(
        self,
        patience_s: float,
        ask: Callable[[Prompt], Awaitable[object]],
        die: Callable[[str], None],
    ) -> None:
        self._patience_s = patience_s
        self._ask = ask
        self._die = die
        self._is_unmet = asyncio.Event()
        self._unmet_since = 0.0
        self._replied_at = 0.0
        self._beaten_at = 0.0
        self._watching = asyncio.create_task(self._watch()) if patience_s > 0 else None

    def asked(self) -> None:
        """Notes a request. Its failure or cancellation doesn't show whether the engine answers."""
        if not self._is_unmet.is_set():
            self._unmet_since = time.monotonic()
            self._is_unmet.set()

    def replied(self, *, others_wait: bool) -> None:
        """Notes a reply."""
        self._replied_at = self._unmet_since = time.monotonic()
        if not others_wait:
            self._is_unmet.clear()

    def beat(self) -> None:
        """Notes progress. May be called from any thread."""
        self._beaten_at = time.monotonic()

    def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        while True:
            await self._is_unmet.wait()
            idle_s = time.monotonic() - max(self._unmet_since, self._beaten_at)
            if idle_s < self._patience_s:
                await asyncio.sleep(self._patience_s - idle_s)
            elif trouble := await self._trouble(idle_s):
                self._die(trouble)
                return

    async def _trouble(self, idle_s: float) -> str:
        """Why the engine is dead; "" if it is alive."""
        asked_at = time.monotonic()
        _log.warning("the engine has answered nobody for %.1f s: asking a canary", idle_s)
        canary = asyncio.ensure_future(self._ask(CANARY))
        try:
            await asyncio.wait({canary}, timeout=self._patience_s)
        finally:
            is_done = canary.done()
            canary.cancel()
        if not is_done:
            if max(self._replied_at, self._beaten_at) >= asked_at:
                return ""
            waited_s = idle_s + time.monotonic() - asked_at
            return f"it hangs: no reply and no progress for {waited_s:.1f} s"
        self._unmet_since = time.monotonic()
        error = canary.exception()
        if error is None or isinstance(error, InvalidInput) or self._replied_at > asked_at:
            return ""
        return f"it fails on every request: {error}"
