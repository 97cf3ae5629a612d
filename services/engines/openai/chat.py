"""Chat completions: a prompt becomes a request body, a response becomes a reply."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from services.core.errors import BadReply, InvalidInput
from services.core.provenance import FinishReason
from services.core.usage import NO_USAGE, Usage
from services.engines.model import (
    Prompt,
    Reply,
)
from services.engines.openai.faults import without_key
from services.engines.openai.prices import Price
from services.engines.openai.settings import OpenAISettings

_CUT = frozenset({"length", "max_tokens"})


@dataclass(frozen=True, slots=True)
class ChatCompletions:
    """Requests and responses of one model, with the price of its tokens."""

    model: str
    settings: OpenAISettings
    price: Price

    def body(self, prompt: Prompt, data_url: str) -> dict[str, Any]:
        """JSON body of a request.

        The limit is `max_completion_tokens`: OpenAI's newer models refuse `max_tokens`, vLLM takes
        both. Raises InvalidInput: guided decoding on a server that isn't known to have it.
        """
        decoding = prompt.decoding
        content = [
            {
                "type": "image_url",
                "image_url": {"url": data_url, "detail": self.settings.image_detail},
            },
            {"type": "text", "text": prompt.text},
        ]
        system = [{"role": "system", "content": prompt.system}] if prompt.system else []
        return {
            "model": self.model,
            "messages": [*system, {"role": "user", "content": content}],
            "max_completion_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            **({"top_p": decoding.top_p} if decoding.top_p < 1.0 else {}),
            "seed": decoding.seed % 2**63,
            **self._pattern(prompt.pattern),
        }

    def _pattern(self, pattern: str) -> dict[str, Any]:
        if not pattern:
            return {}
        if not self.settings.guided:
            raise InvalidInput(
                "guided decoding needs a server that takes a regular expression, OpenAI's takes "
                "none: ask without `guided`, or, with vLLM at OPENAI_BASE_URL, set "
                "MPA_TEACHER_GUIDED=structured_outputs (guided_regex for an old one)",
                field="guided",
            )
        if self.settings.guided == "guided_regex":
            return {"guided_regex": pattern}
        return {"structured_outputs": {"regex": pattern}}

    def tokens(self, prompt: Prompt) -> int:
        """Estimated tokens of request and reply: GPT-4o's rule for images, four letters a token."""
        is_low = self.settings.image_detail == "low"
        image = 85 + (0 if is_low else 170 * _tiles(*prompt.image.pixels.size))
        return image + (len(prompt.text) + len(prompt.system)) // 4 + prompt.decoding.max_new_tokens

    def reply(self, content: bytes | str, *, batch: bool = False) -> Reply:
        """Reply in a response. Raises Unusable: no JSON, no choice, or an empty one."""
        answered, spent = self._read(content, batch)
        try:
            choice = answered["choices"][0]
            text, finish_reason = _written(choice, choice["message"])
        except (LookupError, TypeError, AttributeError) as error:
            raise Unusable(
                f"{self.model} sent a response without a choice ({self._start(content)})", spent
            ) from error
        if not text and finish_reason is FinishReason.STOP:
            raise Unusable(f"{self.model} replied with nothing", spent)
        return Reply(
            text=text,
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
            finish_reason=finish_reason,
            cached_prompt_tokens=spent.cached_prompt_tokens,
            cost_usd=spent.cost_usd,
            system_fingerprint=str(answered.get("system_fingerprint") or ""),
        )

    def spent(self, content: bytes | str, *, batch: bool = False) -> Usage:
        """Usage that a response is billed with, usable or not."""
        try:
            return self._read(content, batch)[1]
        except Unusable:
            return NO_USAGE

    def _read(self, content: bytes | str, batch: bool) -> tuple[dict[str, Any], Usage]:
        try:
            answered = json.loads(content)
            usage = _usage(answered.get("usage") or {})
        except (ValueError, AttributeError, TypeError, OverflowError, RecursionError) as error:
            raise Unusable(
                f"{self.model} sent a response that is no chat completion ({self._start(content)})"
            ) from error
        return answered, replace(usage, cost_usd=self.price.cost_usd(usage, batch=batch))

    def _start(self, content: bytes | str) -> str:
        text = content.decode(errors="replace") if isinstance(content, bytes) else content
        return repr(without_key(text, self.settings.api_key)[:80]) if text else "an empty one"


class Unusable(BadReply):
    """A response without a reply; it costs `usage` all the same."""

    def __init__(self, message: str, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.usage = usage or Usage()


def _written(choice: Mapping[str, Any], message: Mapping[str, Any]) -> tuple[str, FinishReason]:
    text = str(message.get("content") or "").strip()
    if message.get("refusal"):
        return str(message["refusal"]).strip(), FinishReason.REFUSAL
    if choice.get("finish_reason") == "content_filter":
        return text, FinishReason.CONTENT_FILTER
    return text, FinishReason.LENGTH if choice.get("finish_reason") in _CUT else FinishReason.STOP


def _usage(fields: Mapping[str, Any]) -> Usage:
    details = fields.get("prompt_tokens_details") or {}
    prompt_tokens = int(fields.get("prompt_tokens") or 0)
    return Usage(
        prompt_tokens,
        int(fields.get("completion_tokens") or 0),
        min(int(details.get("cached_tokens") or 0), prompt_tokens),
    )


def _tiles(width: int, height: int) -> int:
    """Squares of 512 pixels, in an image scaled to at most 2048 x 768 pixels (longer x shorter)."""
    scale = min(1.0, 2048 / max(width, height), 768 / min(width, height))
    return math.ceil(width * scale / 512) * math.ceil(height * scale / 512)
