"""One question from a conversation, and the way to answer it.

A version answers one question about one image, by the contract of its training: the contract's
template stands around the text of the last user turn, and its system prompt before it. Earlier
turns and the caller's system messages are no part of the prompt; `ignored` names them.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.core.decoding import MAX_NEW_TOKENS, Decoding
from services.core.errors import InvalidInput
from services.rpc.http.completions.body import (
    ChatBody,
    ImagePart,
    OtherMessage,
    TextPart,
    UserMessage,
)

_SEEDS = 2**63


@dataclass(frozen=True, slots=True)
class ChatQuestion:
    """A request. None is the contract's own value."""

    model: str
    """Name of a version or pointer, or an alias; "" is the live version."""
    question: str
    ignored: tuple[str, ...] = ()
    """Kinds of messages that are no part of the prompt: "system", "earlier turns"."""
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stops: tuple[str, ...] = ()
    count: int = 1
    """Number of choices."""
    alternatives: int | None = None
    """Number of likely tokens to name at each step; None: no logprobs either."""
    is_streamed: bool = False
    counts_usage: bool = False
    """Whether a stream ends with a chunk of usage."""

    def decodings(self, own: Decoding) -> list[Decoding]:
        """Decoding of each choice, on a version whose own is `own`.

        An unset seed is random. Greedy choices are all the same.
        """
        most = own.max_new_tokens if self.max_tokens is None else self.max_tokens
        asked = replace(
            own,
            temperature=own.temperature if self.temperature is None else self.temperature,
            top_p=own.top_p if self.top_p is None else self.top_p,
            max_new_tokens=min(most, MAX_NEW_TOKENS),
        )
        if asked.temperature == 0:
            return [asked] * self.count
        seed = secrets.randbelow(_SEEDS) if self.seed is None else self.seed
        return [replace(asked, seed=(seed + place) % _SEEDS) for place in range(self.count)]


def chat_question(body: ChatBody) -> ChatQuestion:
    """Raises InvalidInput: no question, options that need another."""
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidInput("top_logprobs needs logprobs: true", field="top_logprobs")
    if body.stream_options is not None and not body.stream:
        raise InvalidInput("stream_options needs stream: true", field="stream_options")
    *earlier, last = body.messages
    if isinstance(last, OtherMessage):
        raise InvalidInput(
            f"the last message is the {last.role}'s: end with the user's question", field="messages"
        )
    counts_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    limit = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    return ChatQuestion(
        model=body.model or "",
        question=_text(last),
        ignored=_ignored(earlier),
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=limit,
        seed=body.seed,
        stops=tuple(stops),
        count=body.n or 1,
        alternatives=(body.top_logprobs or 0) if body.logprobs else None,
        is_streamed=bool(body.stream),
        counts_usage=counts_usage,
    )


def _text(turn: UserMessage) -> str:
    """Text of a turn; its parts are joined by line ends, as in `vllm serve`."""
    if isinstance(turn.content, str):
        return turn.content
    return "\n".join(part.text for part in turn.content if isinstance(part, TextPart))


def image_url(body: ChatBody) -> str:
    """The image of the user's last turn that has one. Raises InvalidInput: none, or several."""
    for turn in reversed(body.messages):
        if not isinstance(turn, UserMessage):
            continue
        parts = [] if isinstance(turn.content, str) else turn.content
        urls = [part.image_url.url for part in parts if isinstance(part, ImagePart)]
        if len(urls) > 1:
            raise InvalidInput(
                f"a turn has {len(urls)} images: a question is about one, send one",
                field="messages",
                reason="IMAGES_SEVERAL",
            )
        if urls:
            return urls[0]
    raise InvalidInput(
        "the conversation has no image: send one as a part of type image_url",
        field="messages",
        reason="IMAGE_MISSING",
    )


def _ignored(earlier: Sequence[UserMessage | OtherMessage]) -> tuple[str, ...]:
    roles = {turn.role for turn in earlier}
    instructions = {"system", "developer"}
    found = ("system",) if roles & instructions else ()
    return (*found, "earlier turns") if roles - instructions else found
