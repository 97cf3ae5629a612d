"""Generation of a reply: part of a recipe, stored with every record."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.errors import InvalidInput

MAX_NEW_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Decoding:
    """Generation settings. `temperature` 0 is greedy, the default everywhere except in annotation.

    With a temperature, `seed` makes a request repeatable, whatever else is in its batch.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature <= 10.0:
            raise InvalidInput(
                f"temperature is {self.temperature}: give 0 (greedy) to 10",
                field="decoding.temperature",
            )
        if not 0.0 < self.top_p <= 1.0:
            raise InvalidInput(
                f"top_p is {self.top_p}: give more than 0 and at most 1", field="decoding.top_p"
            )
        if not 1 <= self.max_new_tokens <= MAX_NEW_TOKENS:
            raise InvalidInput(
                f"max_new_tokens is {self.max_new_tokens}: give 1 to {MAX_NEW_TOKENS}",
                field="decoding.max_new_tokens",
            )


GREEDY = Decoding()
