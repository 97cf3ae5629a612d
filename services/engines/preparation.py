"""Preparation of a batch for the transformers engine; each prompt is refused on its own.

The batch is as large as the token budget allows. An image's tokens are a function of its size, so
the first image of a size tells the length of later prompts before their images are processed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from services.core.errors import InvalidInput
from services.engines import sharing
from services.engines.chat import TAIL, Chat, TokenizedPrompt
from services.engines.computation import LATER, Left
from services.engines.inputs import build_inputs, pinned
from services.engines.model import Prompt
from services.engines.token_budget import TokenBudget, padded

_SIZES = 4096
"""Sizes of images to remember."""


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """The prompts that are computed now, and the model's inputs for them."""

    prompts: Sequence[Prompt]
    inputs: Any
    lengths: Sequence[int]
    """Number of tokens of each prompt, without a given reply."""
    tails: Sequence[int]
    """Number of tokens of each prompt that are scored with a given reply."""
    images: Sequence[int]
    """Place of each image's first occurrence."""
    others: Sequence[InvalidInput | Left | None]
    """One for every prompt of the batch: refused, left for later, or None if computed now."""
    reply: int = 0
    """Tokens that a reply counts in the budget."""

    @property
    def tokens(self) -> int:
        """Tokens of the batch, padding and replies included."""
        return padded(self.lengths, self.reply)


@dataclass(frozen=True, slots=True)
class Preparation:
    """Makes batches of prompts for a model with a window of `window` tokens.

    `pins`: whether inputs are put into memory that a GPU copies from directly.
    """

    chat: Chat
    window: int
    budget: TokenBudget = field(default_factory=TokenBudget)
    pins: bool = False
    logits: int = 0
    """Tokens that count as much memory as the logits of one scored token."""
    _image_tokens: dict[tuple[int, int], int] = field(default_factory=dict)
    """Tokens of an image by its size, from the batches so far."""

    def __call__(self, prompts: Sequence[Prompt]) -> PreparedBatch:
        """Prepares a batch. A prompt whose text is too long is refused before images are read."""
        tokenized = self.chat.tokenize_all([(prompt.text, prompt.system) for prompt in prompts])
        read = [
            self._if_it_fits(one, prompt) for one, prompt in zip(tokenized, prompts, strict=True)
        ]
        while True:
            others: list[InvalidInput | Left | None] = [
                LATER if isinstance(one, TokenizedPrompt) else one for one in read
            ]
            taken = {at: one for at, one in enumerate(read) if isinstance(one, TokenizedPrompt)}
            if not taken:
                return PreparedBatch([], {}, [], [], [], others)
            reply = self._reply(prompts[0])
            expected = [self._expected(one, prompts[at]) for at, one in taken.items()]
            places = list(taken)
            chosen = [places[place] for place in self.budget.first_part(expected, reply)]
            kept = [prompts[at] for at in chosen]
            images = sharing.distinct([prompt.image.sha256 for prompt in kept])
            pixels = [kept[first].image.pixels for first in images]
            with_replies = [
                replace(taken[at], ids=[*taken[at].ids, *prompts[at].given]) for at in chosen
            ]
            inputs = build_inputs(self.chat.processor, with_replies, pixels)
            lengths = [
                length - len(prompt.given)
                for prompt, length in zip(
                    kept, inputs["attention_mask"].sum(-1).tolist(), strict=True
                )
            ]
            is_new = self._learn([taken[at] for at in chosen], kept, lengths)
            too_long = {
                at: self._too_long(length, prompts[at])
                for at, length in zip(chosen, lengths, strict=True)
                if not self._has_room(length, prompts[at])
            }
            if not too_long and (self.budget.holds(lengths, reply) or not is_new):
                for at in chosen:
                    others[at] = None
                tails = [self.chat.tail(taken[at].ids) for at in chosen]
                kept_inputs = pinned(inputs) if self.pins else inputs
                return PreparedBatch(kept, kept_inputs, lengths, tails, images, others, reply)
            read = [too_long.get(at, one) for at, one in enumerate(read)]

    def _reply(self, prompt: Prompt) -> int:
        """Tokens that a reply counts in the budget, with the logits of one that is scored."""
        scored = TAIL + len(prompt.given) + 1 if prompt.given else 0
        return prompt.decoding.max_new_tokens + scored * self.logits

    def _expected(self, read: TokenizedPrompt, prompt: Prompt) -> int:
        """Tokens of a prompt, as far as its image's size is known."""
        return len(read.ids) + self._image_tokens.get(prompt.image.pixels.size, 0)

    def _learn(
        self, read: Sequence[TokenizedPrompt], prompts: Sequence[Prompt], lengths: Sequence[int]
    ) -> bool:
        """Notes the tokens of images. Returns whether there were new sizes."""
        if len(self._image_tokens) > _SIZES:
            self._image_tokens.clear()
        before = len(self._image_tokens)
        for one, prompt, length in zip(read, prompts, lengths, strict=True):
            self._image_tokens[prompt.image.pixels.size] = length - len(one.ids)
        return len(self._image_tokens) > before

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
