"""Preparation of a batch for the transformers engine; each prompt is refused on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.core.errors import InvalidInput
from services.engines import sharing
from services.engines.chat import Chat, TokenizedPrompt
from services.engines.inputs import build_inputs
from services.engines.model import Prompt


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """The prompts that can be computed, and the model's inputs for them."""

    prompts: Sequence[Prompt]
    inputs: Any
    lengths: Sequence[int]
    """Number of tokens of each prompt."""
    images: Sequence[int]
    """Place of each image's first occurrence."""
    refusals: Sequence[InvalidInput | None]
    """One for every prompt of the batch; None if it can be computed."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """Makes batches of prompts for a model with a window of `window` tokens."""

    chat: Chat
    window: int

    def __call__(self, prompts: Sequence[Prompt]) -> PreparedBatch:
        """Prepares a batch. A prompt whose text is too long is refused before images are read."""
        tokenized = self.chat.tokenize_all([(prompt.text, prompt.system) for prompt in prompts])
        read = [
            self._if_it_fits(one, prompt) for one, prompt in zip(tokenized, prompts, strict=True)
        ]
        while taken := {at: one for at, one in enumerate(read) if isinstance(one, TokenizedPrompt)}:
            kept = [prompts[at] for at in taken]
            images = sharing.distinct([prompt.image.sha256 for prompt in kept])
            pixels = [kept[first].image.pixels for first in images]
            inputs = build_inputs(self.chat.processor, list(taken.values()), pixels)
            lengths: list[int] = inputs["attention_mask"].sum(-1).tolist()
            too_long = {
                at: self._too_long(length, prompts[at])
                for at, length in zip(taken, lengths, strict=True)
                if not self._has_room(length, prompts[at])
            }
            if not too_long:
                return PreparedBatch(kept, inputs, lengths, images, _refusals(read))
            read = [too_long.get(at, one) for at, one in enumerate(read)]
        return PreparedBatch([], {}, [], [], _refusals(read))

    def _if_it_fits(
        self, read: TokenizedPrompt | InvalidInput, prompt: Prompt
    ) -> TokenizedPrompt | InvalidInput:
        if isinstance(read, InvalidInput) or self._has_room(len(read.ids), prompt):
            return read
        return self._too_long(len(read.ids), prompt)

    def _has_room(self, length: int, prompt: Prompt) -> bool:
        return length + prompt.decoding.max_new_tokens <= self.window

    def _too_long(self, length: int, prompt: Prompt) -> InvalidInput:
        return InvalidInput(
            f"image and question take {length} tokens and the reply up to "
            f"{prompt.decoding.max_new_tokens}, but the model's window is {self.window}: "
            "ask a shorter question or send a smaller image",
            field="question",
            reason="PROMPT_TOO_LONG",
        )


def _refusals(read: Sequence[TokenizedPrompt | InvalidInput]) -> list[InvalidInput | None]:
    return [one if isinstance(one, InvalidInput) else None for one in read]
