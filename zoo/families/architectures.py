"""Architectures that a course can train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from zoo import architecture, idefics3
from zoo.anatomy import Model, Processor
from zoo.architecture import Size
from zoo.minivqa.picture import SIDE


@dataclass(frozen=True, slots=True)
class Architecture:
    """Special tokens of a tokenizer, and builders of a processor and of an untrained model."""

    end_of_turn: str
    marks: tuple[str, ...]
    build_processor: Callable[[PreTrainedTokenizerFast, int, int], Processor]
    """From a tokenizer, and the pixels per side of an image and of a patch."""
    build_model: Callable[[Size, PreTrainedTokenizerFast], Model]
    side: int = SIDE
    """Pixels per side of an image."""


QWEN2_VL = Architecture(
    architecture.END_OF_TURN,
    architecture.MARKS,
    architecture.build_processor,
    architecture.build_model,
)
IDEFICS3 = Architecture(
    idefics3.END_OF_TURN,
    idefics3.MARKS,
    idefics3.build_processor,
    idefics3.build_model,
    idefics3.IMAGE_SIDE,
)
