"""JSON of completions, chunks and models, in the shapes of OpenAI's API.

`model` and `system_fingerprint` are the version that answers, whatever name was asked for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.core.provenance import FinishReason
from services.engines.model import Reply, TokenScore

OWNER = "model-parity-aligner"
_FINISHED = {FinishReason.LENGTH: "length", FinishReason.CONTENT_FILTER: "content_filter"}


@dataclass(frozen=True, slots=True)
class Completed:
    """The replies to a question, one for each choice."""

    version: str
    replies: Sequence[Reply]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A name that requests may give as `model`."""

    name: str
    version: str
    created: int
    """Seconds since 1970 at which the version was made."""
    parent: str = ""
    """The version from which it was trained."""

    @property
    def json(self) -> dict[str, Any]:
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": OWNER,
            "root": self.version,
            "parent": self.parent or None,
        }


def model_list(models: Sequence[ServedModel]) -> dict[str, Any]:
    return {"object": "list", "data": [model.json for model in models]}


@dataclass(frozen=True, slots=True)
class CompletionShape:
    """The fields that all parts of one reply share."""

    id: str
    version: str
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(self, replies: Sequence[Reply], *, is_scored: bool) -> dict[str, Any]:
        """A whole reply."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": reply.text, "refusal": None},
                "logprobs": _logprobs(reply) if is_scored else None,
                "finish_reason": finish_reason(reply),
            }
            for index, reply in enumerate(replies)
        ]
        return {**self._head("chat.completion"), "choices": choices, "usage": usage(replies)}

    def chunk(
        self,
        index: int,
        delta: dict[str, str],
        *,
        ended: Reply | None = None,
        is_scored: bool = False,
    ) -> dict[str, Any]:
        """A part of a choice. The last one, of an `ended` reply, has its reason and logprobs."""
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": _logprobs(ended) if ended and is_scored else None,
            "finish_reason": finish_reason(ended) if ended else None,
        }
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def usage_chunk(self, replies: Sequence[Reply]) -> dict[str, Any]:
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage(replies)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.version,
            "system_fingerprint": self.version,
        }


def finish_reason(reply: Reply) -> str:
    return _FINISHED.get(reply.finish_reason, "stop")


def usage(replies: Sequence[Reply]) -> dict[str, Any]:
    """Tokens of a request: its prompt once, and all choices."""
    prompt_tokens = max(reply.prompt_tokens for reply in replies)
    written = sum(reply.completion_tokens for reply in replies)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": written,
        "total_tokens": prompt_tokens + written,
        "prompt_tokens_details": {
            "cached_tokens": max(reply.cached_prompt_tokens for reply in replies)
        },
    }


def _logprobs(reply: Reply) -> dict[str, Any]:
    """Logprobs of the tokens of the text, without the one that ends the reply."""
    texts = reply.token_texts
    if texts and "".join(texts[:-1]).strip() == reply.text:
        texts = texts[:-1]
    return {
        "content": [
            {
                **_token(TokenScore(text, reply.logprobs[step])),
                "top_logprobs": _alternatives(reply, step),
            }
            for step, text in enumerate(texts)
        ],
        "refusal": None,
    }


def _alternatives(reply: Reply, step: int) -> list[dict[str, Any]]:
    return [_token(each) for each in reply.alternatives[step]] if reply.alternatives else []


def _token(score: TokenScore) -> dict[str, Any]:
    return {
        "token": score.text,
        "logprob": max(score.logprob, _LEAST),
        "bytes": list(score.text.encode("utf-8", "replace")),
    }


_LEAST = -9999.0
"""Logprob of a token that can't be, in place of -inf, which JSON doesn't have."""
