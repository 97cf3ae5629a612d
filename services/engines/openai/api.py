"""Calls of the provider: paced, retried with one idempotency key, its errors turned into ours."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from typing import Any

import httpx

from services import metrics
from services.core.errors import MpaError, Overloaded, Unavailable
from services.engines.openai.faults import Fault, without_key
from services.engines.openai.pacing import Pace, retry_after_s
from services.engines.openai.settings import OpenAISettings

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 10.0
GIVE_UP_AFTER_S = 100.0
"""A little less than a caller's usual deadline (two minutes), so that the reason reaches it."""

_log = logging.getLogger(__name__)


class RequestRefused(Exception):
    """An error of the provider that no retry cures; the caller knows its meaning."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Api:
    """One server, one key. All network traffic passes through here."""

    def __init__(self, settings: OpenAISettings, model: str) -> None:
        self._settings = settings
        self._model = model
        self.pace = Pace(
            settings.requests_per_minute, settings.tokens_per_minute, settings.max_concurrent
        )
        self._http = httpx.AsyncClient(
            base_url=settings.base_url,
            headers={"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {},
            timeout=None,
            limits=httpx.Limits(
                max_connections=settings.max_concurrent,
                max_keepalive_connections=settings.max_concurrent,
            ),
        )

    async def close(self) -> None:
        await self._http.aclose()

    def error(self, fault: Fault) -> MpaError:
        return fault.error(self._model, self._settings.origin)

    async def call(
        self,
        method: str,
        path: str,
        *,
        tokens: int = 0,
        timeout_s: float | None = None,
        **content: Any,
    ) -> httpx.Response:
        """Sends a request until it has a successful response.

        `content`: arguments of httpx (json, files, params). `tokens`: estimate for the pace.
        `timeout_s`: limit of one try, for transfers of whole files; None: that of the settings.

        Retries of a POST keep one idempotency key: a provider that honours it doesn't compute or
        bill a request twice whose answer was lost.

        Raises RequestRefused: the answer is final. Overloaded, Unavailable: all retries failed.
        """
        headers = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {}
        give_up_at = time.monotonic() + (timeout_s or GIVE_UP_AFTER_S)
        delay_s = FIRST_DELAY_S
        tries = 0
        while True:
            tries += 1
            await self.pace.turn(tokens)
            async with self.pace:
                left_s = max(1.0, give_up_at - time.monotonic())
                try_s = min(timeout_s or self._settings.timeout_s, left_s)
                outcome = await self._try(method, path, headers, try_s, content)
            if isinstance(outcome, httpx.Response):
                metrics.PROVIDER_CALLS.labels("ok").inc()
                return outcome
            trouble, asked_s = outcome
            metrics.PROVIDER_CALLS.labels(trouble.reason.lower()).inc()
            wait_s = asked_s if asked_s is not None else delay_s * random.uniform(0.5, 1.0)
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)
            if isinstance(trouble, Overloaded):
                self.pace.pause(wait_s)
            if tries > self._settings.retries or time.monotonic() + wait_s > give_up_at:
                raise trouble
            number = f"try {tries + 1} of {self._settings.retries + 1}"
            _log.info("%s, %s in %.1f s: %s", path, number, wait_s, trouble)
            await asyncio.sleep(wait_s)

    async def _try(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        timeout_s: float,
        content: dict[str, Any],
    ) -> httpx.Response | tuple[MpaError, float | None]:
        """The response, or an error and the seconds that the provider asks to wait.

        Raises RequestRefused.
        """
        origin = self._settings.origin
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._http.request(method, path, headers=headers, **content)
        except TimeoutError:
            return Unavailable(f"{origin} did not answer within {timeout_s:g} s"), None
        except httpx.RequestError as error:
            detail = without_key(str(error), self._settings.api_key) or type(error).__name__
            return Unavailable(
                f"the connection to {origin} failed ({detail}): "
                "check OPENAI_BASE_URL and the network"
            ), None
        if response.is_success:
            return response
        fault = Fault.read(response.status_code, response.content, self._settings.api_key)
        if not fault.is_transient:
            metrics.PROVIDER_CALLS.labels("refused").inc()
            raise RequestRefused(fault)
        asked_s = retry_after_s(response.headers)
        return fault.error(self._model, origin, asked_s or FIRST_DELAY_S), asked_s
