"""A picture of the benchmark with the questions that can be asked about it."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

SIDE = 112
"""Width and height in pixels: 64 patches of 14, 16 visual tokens of a Qwen2-VL."""


@dataclass(frozen=True, slots=True)
class Question:
    """`answer` is the one a model is taught; `references` are those it is scored by (ten where the metric is VQA accuracy)."""

    text: str
    answer: str
    references: tuple[str, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class Picture:
    """`entities`: what was drawn from the split, by sort: for checks that no test entity was ever seen."""

    image: Image.Image
    questions: tuple[Question, ...]
    entities: tuple[tuple[str, str], ...]


def ten(answer: str, *variants: str) -> tuple[str, ...]:
    """Ten people's answers: seven agree, three say a variant (or agree, too). The one that is taught scores 1."""
    others = [variants[i % len(variants)] if variants else answer for i in range(3)]
    return (*[answer] * 7, *others)
