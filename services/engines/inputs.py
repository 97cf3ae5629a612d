"""What a model is computed from: token ids with an image's tokens in place of its placeholder, and the image's tensors.

The processor is shown the template around a harmless text only: it expands placeholders by searching strings, and what a caller
writes must not be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from services.core.errors import InvalidImage, MpaError
from services.engines.chat import TokenizedPrompt

OF_TEXT = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"})
"""Tensors with an entry for each token; all others are the image's."""
_OF_PLAIN_TEXT = {"attention_mask": 1}
"""What such an entry is for a token of text, where it is not 0."""


def build_inputs(processor: Any, prompts: Sequence[TokenizedPrompt], images: Sequence[Any]) -> Any:
    """A BatchFeature as the processor makes them, padded on the left; one image for each prompt.

    Raises InvalidImage: an image that the processor can't take.
    """
    texts = [prompt.frame.rendered for prompt in prompts]
    padding = {"padding": True, "padding_side": "left"} if len(prompts) > 1 else {}
    try:
        inputs = processor(text=texts, images=[[image] for image in images], return_tensors="pt", **padding)
    except ValueError as error:
        raise InvalidImage(f"the model's processor can't take this image: {error}") from error
    of_text = {name: inputs[name] for name in OF_TEXT & inputs.keys()}
    rows = [_with_own_text(_unpadded(of_text, row), prompt) for row, prompt in enumerate(prompts)]
    fills = {"input_ids": processor.tokenizer.pad_token_id or 0}
    for name in of_text:
        inputs[name] = pad_sequence(
            [row[name] for row in rows], batch_first=True, padding_value=fills.get(name, 0), padding_side="left"
        )
    return inputs


def _unpadded(of_text: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    """The entries of one row, shape (tokens,) each."""
    is_own = of_text["attention_mask"][row].bool()
    return {name: tensor[row][is_own] for name, tensor in of_text.items()}


def _with_own_text(framed: dict[str, torch.Tensor], prompt: TokenizedPrompt) -> dict[str, torch.Tensor]:
    """The prompt's own ids behind those that it shares with the template around the harmless text."""
    harmless = prompt.frame.ids
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(harmless, prompt.ids, strict=False)))
    behind = len(harmless) - shared
    kept = len(framed["input_ids"]) - behind
    if framed["input_ids"][kept:].tolist() != harmless[shared:]:
        raise MpaError(
            "the model's processor writes text behind the image otherwise than its tokenizer does: it can't be served",
            reason="PROCESSOR_UNKNOWN",
        )
    own = torch.tensor(prompt.ids[shared:], dtype=torch.long)
    fresh = {name: torch.full_like(own, _OF_PLAIN_TEXT.get(name, 0)) for name in framed} | {"input_ids": own}
    return {name: torch.cat([tensor[:kept], fresh[name]]) for name, tensor in framed.items()}
