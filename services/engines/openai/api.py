"""Sending to the provider: paced, retried with one idempotency key, its errors turned into ours."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from typing import Any

import httpx

from services.core.errors import MpaError, Overloaded, Unavailable
from services.engines.openai.faults import Fault, without_key
from services.engines.openai.pacing import Pace, retry_after_s
from services.engines.openai.settings import OpenAISettings

FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 10.0
GIVE_UP_AFTER_S = 100.0
"""A little less than a caller's usual deadline (two minutes), so that it hears the reason."""

_log = logging.getLogger(__name__)


class RequestRefused(Exception):
    """The provider answered with an error that no retry cures; the caller knows what it means for the request."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Api:
    """One server, one key. Everything that goes over the network goes through here."""

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
        """A successful response; `content` as httpx takes it (json, files, params), `tokens` the estimate that is paced by.

        `timeout_s`, of one try, is for transfers of whole files; otherwise it is the one of the settings.

        Raises Refused: the answer is final. Overloaded, Unavailable: it stayed so after all retries. A POST carries an
        idempotency key that stays the same, so a provider that honours it does not compute, or bill, a request twice
        whose answer got lost.
        """
        headers = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {}
        give_up_at = time.monotonic() + (timeout_s or GIVE_UP_AFTER_S)
        delay_s, tries = FIRST_DELAY_S, 0
        while True:
            tries += 1
            await self.pace.turn(tokens)
            async with self.pace:
                left_s = max(1.0, give_up_at - time.monotonic())
                outcome = await self._try(
                    method,
                    path,
                    headers,
                    min(timeout_s or self._settings.timeout_s, left_s),
                    content,
                )
            if isinstance(outcome, httpx.Response):
                return outcome
            trouble, asked_s = outcome
            wait_s = asked_s if asked_s is not None else delay_s * random.uniform(0.5, 1.0)
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)
            if isinstance(trouble, Overloaded):
                self.pace.pause(wait_s)
            if tries > self._settings.retries or time.monotonic() + wait_s > give_up_at:
                raise trouble
            _log.info(
                "%s, try %d of %d in %.1f s: %s",
                path,
                tries + 1,
                self._settings.retries + 1,
                wait_s,
                trouble,
            )
            await asyncio.sleep(wait_s)

    async def _try(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        timeout_s: float,
        content: dict[str, Any],
    ) -> httpx.Response | tuple[MpaError, float | None]:
        """The response, or what went wrong and how long the provider asks to wait. Raises RequestRefused."""
        origin = self._settings.origin
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._http.request(method, path, headers=headers, **content)
        except TimeoutError:
            return Unavailable(f"{origin} did not answer within {timeout_s:g} s"), None
        except httpx.RequestError as error:
            detail = without_key(str(error), self._settings.api_key) or type(error).__name__
            return Unavailable(
                f"the connection to {origin} failed ({detail}): check OPENAI_BASE_URL and the network"
            ), None
        if response.is_success:
            return response
        fault = Fault.read(response.status_code, response.content, self._settings.api_key)
        if not fault.is_transient:
            raise RequestRefused(fault)
        asked_s = retry_after_s(response.headers)
        return fault.error(self._model, origin, asked_s or FIRST_DELAY_S), asked_s
