"""Usage of a model: tokens and, if a provider bills them, money."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and US dollars of one call or several. `prompt_tokens` include the cached ones."""

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
"""Calls for one reply: an unusable one is asked for once more, and both are billed."""
SCAFFOLD_TOKENS = 50
"""Tokens of the chat format around a prompt."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """Prices of a provider, in US dollars per million tokens.

    `image_tokens`: most tokens of one image, 0 if unknown.
    """

    input_usd: float
    output_usd: float
    image_tokens: int = 0

    def bound_usd(self, text: str, max_new_tokens: int) -> float | None:
        """Highest cost of a call with this text about one image; None if unknown.

        A token has at least one byte.
        """
        if not self.image_tokens:
            return None
        prompt_tokens = self.image_tokens + len(text.encode()) + SCAFFOLD_TOKENS
        return TRIES * (prompt_tokens * self.input_usd + max_new_tokens * self.output_usd) / 1e6
