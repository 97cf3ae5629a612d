"""Scores of given replies by a model of transformers: one pass for a batch."""

from __future__ import annotations

from typing import Any

import torch

from services.engines.model import Reply
from services.engines.preparation import PreparedBatch


def logprobs(tokens: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Log probabilities of `tokens`, shape (batch, steps), by logits (batch, steps, vocabulary)."""
    return logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]


def score(model: Any, batch: PreparedBatch, inputs: dict[str, Any]) -> list[Reply]:
    """Score the given replies of a batch, all of one length, with the prompts' last tokens."""
    count = len(batch.prompts[0].given)
    scored = max(batch.tails) + count
    logits = model(**inputs, logits_to_keep=scored + 1, use_cache=False).logits
    tokens = inputs["input_ids"][:, -scored:]
    rows = logprobs(tokens, logits[:, :-1].float()).tolist()
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
