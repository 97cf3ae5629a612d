"""Prices of tokens. MPA_TEACHER_PRICES names a JSON file that overrides the table, per model.

    {"gpt-4o-2024-11-20": {"input": 2.5, "cached_input": 1.25, "output": 10, "batch_discount": 0.5}}

US dollars per million tokens. `cached_input` defaults to `input`, `batch_discount` (the share that
a batch saves) to 0.5.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidInput
from services.core.usage import Usage

LOOKED_UP = "2026-11-23"
"""Date of BUILT_IN, from public price lists: compare your provider's before you budget."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float
    cached_input: float
    output: float
    batch_discount: float = 0.5

    def __post_init__(self) -> None:
        for name in ("input", "cached_input", "output"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}")
        if not 0 <= self.batch_discount <= 1:
            raise ValueError(f"batch_discount is {self.batch_discount}")

    def cost_usd(self, usage: Usage, *, batch: bool = False) -> float:
        """Price of calls with this usage."""
        full = usage.prompt_tokens - usage.cached_prompt_tokens
        dollars = (
            full * self.input
            + usage.cached_prompt_tokens * self.cached_input
            + usage.completion_tokens * self.output
        )
        return dollars / 1e6 * (1 - self.batch_discount if batch else 1)


FREE = Price(0.0, 0.0, 0.0)
BUILT_IN = {
    "gpt-4o": Price(2.50, 1.25, 10.00),
    "gpt-4o-2024-05-13": Price(5.00, 5.00, 15.00),
    "gpt-4o-mini": Price(0.15, 0.075, 0.60),
    "gpt-4.1": Price(2.00, 0.50, 8.00),
    "gpt-4.1-mini": Price(0.40, 0.10, 1.60),
    "gpt-4.1-nano": Price(0.10, 0.025, 0.40),
}
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def price_of(model: str, table: Path | None = None) -> Price:
    """Price of a model; a dated one (gpt-4o-2024-11-20) without a row has that of its family.

    An unknown model is free, with a warning in the log. Raises InvalidInput: `table` can't be read.
    """
    prices = {**BUILT_IN, **(_read(table) if table else {})}
    found = prices.get(model) or prices.get(_DATE.sub("", model))
    if found is None:
        _log.warning(
            "no price is known for %s: its calls are counted at 0 dollars; "
            "MPA_TEACHER_PRICES names a price table",
            model,
        )
    return found or FREE


def image_tokens(model: str, detail: str) -> int:
    """Most tokens of one image; 0 for models whose rule isn't GPT-4o's, such as its mini."""
    if _DATE.sub("", model) not in ("gpt-4o", "gpt-4.1"):
        return 0
    return 85 if detail == "low" else 85 + 8 * 170


def _read(path: Path) -> dict[str, Price]:
    try:
        rows = json.loads(path.read_text())
        return {
            model: Price(**{"cached_input": row["input"], **row}) for model, row in rows.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInput(
            f"the price table {path} can't be read ({error!r}): give JSON such as "
            '{"gpt-4o": {"input": 2.5, "cached_input": 1.25, "output": 10, "batch_discount": 0.5}}',
            field="MPA_TEACHER_PRICES",
        ) from error
