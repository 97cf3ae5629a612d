"""The engine for a closed teacher or your own server, behind the interface of other engines."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from services import metrics, tracing
from services.core.errors import BadReply, WrongState
from services.core.provenance import FinishReason
from services.core.usage import Usage
from services.engines.batching import never
from services.engines.model import (
    Prompt,
    Reply,
)
from services.engines.openai.api import Api, RequestRefused
from services.engines.openai.batches import Batches
from services.engines.openai.chat import ChatCompletions, Unusable
from services.engines.openai.images import DataUrls
from services.engines.openai.prices import price_of
from services.engines.openai.settings import BatchSettings, OpenAISettings
from services.engines.openai.store import BatchStore

COMPLETIONS = "/chat/completions"
TRIES_OF_A_REPLY = 2

_log = logging.getLogger(__name__)


def identity(model: str, settings: OpenAISettings) -> str:
    """Hex SHA-256 over server, model name and image detail, since the weights are unknown.

    It stays the same when the provider changes the model behind the name. Each reply's
    `system_fingerprint` shows that, and a dated name (gpt-4o-2024-11-20) avoids it.
    """
    asked = f"openai\n{settings.origin}\n{model}\n{settings.image_detail}"
    return hashlib.sha256(asked.encode()).hexdigest()


class OpenAIEngine:
    """One model of one provider, whose limits apply to all requests together."""

    def __init__(self, chat: ChatCompletions, api: Api, batches: Batches | None) -> None:
        self._chat = chat
        self._api = api
        self._batches = batches
        self._images = DataUrls()
        self._fingerprint = identity(chat.model, chat.settings)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    async def generate(self, prompt: Prompt) -> Reply:
        """Replies to a prompt.

        Also raises BadReply (unusable twice), WrongState (key, quota, model), Pending (in a batch).
        """
        if self._batches is None:
            with tracing.inner("engine") as span:
                reply = await self._ask(prompt)
                tracing.used(span, reply.usage)
                return reply
        key = _key(self.fingerprint, prompt)
        if not self._batches.holds(key):
            self._batches.add(key, await self._body(prompt))
        return self._batches.reply(key)

    async def death(self) -> str:
        return await never()

    async def close(self) -> None:
        if self._batches is not None:
            await self._batches.close()
        await self._api.close()

    async def _body(self, prompt: Prompt) -> dict[str, Any]:
        return self._chat.body(prompt, await self._images.get(prompt.image))

    async def _ask(self, prompt: Prompt) -> Reply:
        """Asks again once after an unusable response, whose cost is added to that of the reply."""
        body = await self._body(prompt)
        estimate = self._chat.tokens(prompt)
        wasted = Usage()
        for _ in range(TRIES_OF_A_REPLY):
            try:
                response = await self._api.call("POST", COMPLETIONS, json=body, tokens=estimate)
                metrics.billed(self._chat.spent(response.content))
                reply = self._chat.reply(response.content)
            except Unusable as error:
                wasted += error.usage
                trouble = error
                _log.warning("%s", error)
                continue
            except RequestRefused as error:
                if error.fault.is_withheld:
                    return Reply("", 0, 0, FinishReason.CONTENT_FILTER)
                raise self._api.error(error.fault) from None
            self._api.pace.settle(estimate, reply.prompt_tokens + reply.completion_tokens)
            return _with(reply, wasted)
        raise BadReply(f"{trouble}, {TRIES_OF_A_REPLY} times")


def _key(fingerprint: str, prompt: Prompt) -> str:
    """Hash of a request's content: the same question, asked again at any time, has the same key."""
    decoding = prompt.decoding
    asked = [
        fingerprint,
        prompt.image.sha256,
        prompt.system,
        prompt.text,
        prompt.pattern,
        decoding.temperature,
        decoding.top_p,
        decoding.max_new_tokens,
        decoding.seed,
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _with(reply: Reply, wasted: Usage) -> Reply:
    return replace(
        reply,
        prompt_tokens=reply.prompt_tokens + wasted.prompt_tokens,
        completion_tokens=reply.completion_tokens + wasted.completion_tokens,
        cached_prompt_tokens=reply.cached_prompt_tokens + wasted.cached_prompt_tokens,
        cost_usd=reply.cost_usd + wasted.cost_usd,
    )


async def load(model: str, settings: OpenAISettings) -> OpenAIEngine:
    """Connects to a model; checks key and model with a call that costs nothing.

    Raises WrongState (key refused, no such model), Unavailable (no connection), InvalidInput
    (address, key, price table).
    """
    settings.require_access()
    chat = ChatCompletions(model, settings, price_of(model, settings.prices))
    api = Api(settings, model)
    try:
        await _check(api, model)
        batches = _batches(settings.batch, api, chat) if settings.batch is not None else None
    except BaseException:
        await api.close()
        raise
    how = "in batches, " if batches else ""
    _log.info("%s at %s, %simage detail %s", model, settings.origin, how, settings.image_detail)
    return OpenAIEngine(chat, api, batches)


def _batches(settings: BatchSettings, api: Api, chat: ChatCompletions) -> Batches:
    """Batches of one model, in a store for each model of each provider."""
    path = settings.folder / f"{identity(chat.model, chat.settings)[:16]}.sqlite"
    return Batches(settings, api, chat, BatchStore(path))


async def _check(api: Api, model: str) -> None:
    """Asks for the model, then for the list of models.

    Servers offer one, the other, both or neither; then the model is accepted unchecked.
    """
    try:
        await api.call("GET", f"/models/{quote(model, safe='')}")
        return
    except RequestRefused as error:
        fault = error.fault
    if fault.status == 403 and "scope" in fault.message:
        _log.warning(
            "the key may not look up models, so %s is used unchecked (%s)", model, fault.message
        )
        return
    if fault.status in (401, 403) or fault.code == "model_not_found":
        raise api.error(fault)
    try:
        listed = (await api.call("GET", "/models")).json()["data"]
        names = [str(entry["id"]) for entry in listed]
    except (RequestRefused, ValueError, LookupError, TypeError):
        _log.warning("the server does not list its models, so %s is used unchecked", model)
        return
    if model not in names:
        raise WrongState(
            f"the server has no model {model!r}, only {', '.join(names[:5]) or 'none'}: "
            "set MPA_TEACHER_MODEL to one of these",
            reason="MODEL_NOT_FOUND",
        )
