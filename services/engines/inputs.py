"""Inputs of a model: token ids, with image tokens in place of the placeholder, and image tensors.

The processor only sees the template around a harmless text: it expands placeholders by searching
strings, and a caller's text must not match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from services.core.errors import MpaError
from services.engines.chat import TokenizedPrompt
from services.engines.images import refused_by_processor

OF_TEXT = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"})
"""Tensors with an entry for each token; all others belong to the image."""


@dataclass(frozen=True, slots=True)
class _Splice:
    """Change of one row: the processor's ids from `start` to `end`, then the prompt's `own` ids."""

    start: int
    end: int
    own: list[int]

    @property
    def length(self) -> int:
        return self.end - self.start + len(self.own)


def build_inputs(processor: Any, prompts: Sequence[TokenizedPrompt], images: Sequence[Any]) -> Any:
    """A BatchFeature like the processor's, padded on the left; one image for each prompt.

    Raises InvalidImage: the processor doesn't accept an image.
    """
    texts = [prompt.frame.rendered for prompt in prompts]
    padding = {"padding": True, "padding_side": "left"} if len(prompts) > 1 else {}
    try:
        inputs = processor(
            text=texts, images=[[image] for image in images], return_tensors="pt", **padding
        )
    except ValueError as error:
        raise refused_by_processor(error) from error
    ids = inputs["input_ids"]
    lengths = inputs["attention_mask"].sum(-1).tolist()
    splices = [_splice(ids[row], length, prompts[row]) for row, length in enumerate(lengths)]
    for name in OF_TEXT & inputs.keys():
        inputs[name] = _spliced(name, inputs[name], splices, processor.tokenizer.pad_token_id or 0)
    return inputs


def pinned(inputs: Any) -> Any:
    """Puts the tensors of a batch into memory that a GPU copies from while it computes."""
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor):
            inputs[name] = value.pin_memory()
    return inputs


def _splice(framed: torch.Tensor, length: int, prompt: TokenizedPrompt) -> _Splice:
    """Keeps the start of a row that the prompt shares with the template around harmless text."""
    harmless, ids = prompt.frame.ids, prompt.ids
    pairs = enumerate(zip(harmless, ids, strict=False))
    shared = next(
        (at for at, (theirs, ours) in pairs if theirs != ours), min(len(harmless), len(ids))
    )
    end = len(framed) - (len(harmless) - shared)
    if framed[end:].tolist() != harmless[shared:]:
        raise MpaError(
            "the model's processor and its tokenizer encode the text after the image differently: "
            "the model can't be served",
            reason="PROCESSOR_UNKNOWN",
        )
    return _Splice(len(framed) - length, end, ids[shared:])


def _spliced(
    name: str, framed: torch.Tensor, splices: Sequence[_Splice], pad_token: int
) -> torch.Tensor:
    """Spliced rows, shape (prompts, tokens of the longest); token types of text are 0."""
    width = max(splice.length for splice in splices)
    rows = framed.new_full((len(splices), width), pad_token if name == "input_ids" else 0)
    for row, splice in enumerate(splices):
        text = width - len(splice.own)
        rows[row, width - splice.length : text] = framed[row, splice.start : splice.end]
        if name == "input_ids":
            rows[row, text:] = torch.tensor(splice.own, dtype=framed.dtype)
        elif name == "attention_mask":
            rows[row, text:] = 1
    return rows
