"""Scores of given replies by a model of transformers: one pass for a batch."""

from __future__ import annotations

from typing import Any

import torch

from services.engines.model import Reply
from services.engines.preparation import PreparedBatch

BYTES_AT_ONCE = 256 * 2**20
"""Memory for logits in float32, of which one row is computed at least."""


def logprobs(tokens: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Log probabilities of `tokens`, shape (batch, steps), by logits (batch, steps, vocabulary).

    In float32, for a few rows at a time.
    """
    row_bytes = logits[0].numel() * torch.float32.itemsize
    count = max(1, BYTES_AT_ONCE // row_bytes)
    found = [
        some.log_softmax(-1, dtype=torch.float32).gather(-1, theirs[..., None])[..., 0]
        for theirs, some in zip(tokens.split(count), logits.split(count), strict=True)
    ]
    return torch.cat(found)


def score(model: Any, batch: PreparedBatch, inputs: dict[str, Any]) -> list[Reply]:
    """Score the given replies of a batch, all of one length, with the prompts' last tokens."""
    count = len(batch.prompts[0].given)
    scored = max(batch.tails) + count
    logits = model(**inputs, logits_to_keep=scored + 1, use_cache=False).logits
    tokens = inputs["input_ids"][:, -scored:]
    rows = logprobs(tokens, logits[:, :-1]).tolist()
    return [
        Reply(
            text="",
            prompt_tokens=length,
            completion_tokens=count,
            token_ids=prompt.given,
            logprobs=tuple(row[-(tail + count) :]),
        )
        for prompt, length, tail, row in zip(
            batch.prompts, batch.lengths, batch.tails, rows, strict=True
        )
    ]
