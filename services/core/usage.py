"""What calls of a model take: tokens and, where a provider bills them, money."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, or of several added up; `cached_prompt_tokens` are part of `prompt_tokens`. US dollars."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
            self.cost_usd + other.cost_usd,
        )


NO_USAGE = Usage()

TRIES = 2
"""A reply that can't be used is asked for once more, and both are billed."""
SCAFFOLD_TOKENS = 50
"""Of the chat format around a prompt."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a provider bills: US dollars per million tokens. `image_tokens`: of one image at most, 0 where nobody knows."""

    input_usd: float
    output_usd: float
    image_tokens: int = 0

    def bound_usd(self, text: str, max_new_tokens: int) -> float | None:
        """No call with this text about one image costs more: a token is a byte at least. None where nobody knows."""
        if not self.image_tokens:
            return None
        prompt_tokens = self.image_tokens + len(text.encode()) + SCAFFOLD_TOKENS
        return TRIES * (prompt_tokens * self.input_usd + max_new_tokens * self.output_usd) / 1e6
