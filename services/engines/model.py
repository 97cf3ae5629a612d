"""The one interface that services call: a prompt about an image in, a reply out, however the engine batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.core.decoding import GREEDY, Decoding
from services.engines.images import LoadedImage


@dataclass(frozen=True, slots=True)
class Prompt:
    """One user turn about one image. The engine puts it into its model's own chat template."""

    image: LoadedImage
    text: str
    decoding: Decoding = GREEDY


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model wrote. `finish_reason` is "stop" or "length" (cut off at max_new_tokens)."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str


class VisionLanguageModel(Protocol):
    """A loaded model. Callers ask concurrently; batching is the engine's business."""

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 over weights, configuration, tokenizer and processor; stored with every record."""

    async def generate(self, prompt: Prompt) -> Reply:
        """Raises InvalidInput (the prompt doesn't fit the model), Overloaded (queue full), Unavailable (closed)."""

    async def close(self) -> None:
        """Ends after the requests it has; frees the memory."""
