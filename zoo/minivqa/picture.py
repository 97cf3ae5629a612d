"""A picture of the benchmark, with its questions and all its facts."""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image

from zoo.minivqa.parts import Part, Split

SIDE = 112
"""Width and height in pixels: 64 patches of 14, 16 visual tokens of a Qwen2-VL."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question. `answer` is taught; `references` score answers (ten of them for VQA accuracy)."""

    text: str
    answer: str
    references: tuple[str, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact about a picture, and the wordings of questions that ask for it."""

    wordings: Split[str]
    answer: str
    references: tuple[str, ...]
    kind: str

    def ask(self, part: Part, rng: random.Random) -> Question:
        return Question(self.wordings.draw(part, rng), self.answer, self.references, self.kind)


@dataclass(frozen=True, slots=True)
class Mark:
    """Upright box, in pixels, around a character, an object, or something of one color."""

    name: str
    left: float
    top: float
    right: float
    bottom: float
    after: str | None = None
    """The character before this one; "" for the first."""

    def moved(self, right: float, down: float) -> Mark:
        edges = self.left + right, self.top + down, self.right + right, self.bottom + down
        return Mark(self.name, *edges, self.after)


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn picture and its truth."""

    image: Image.Image
    questions: tuple[Question, ...]
    """Questions about some of the facts."""
    entities: tuple[tuple[str, str], ...]
    """Entities of the split, by kind. No entity of the test may be in the pool or in training."""
    facts: tuple[Fact, ...]
    marks: tuple[Mark, ...]
    """Places, each ground before the marks that stand on it."""

    def find_fact(self, question: str) -> Fact | None:
        """The fact that a question asks for, in any wording; None if this picture has none."""
        asked = question.strip().lower()
        return next(
            (f for f in self.facts if asked in (*f.wordings.seen, *f.wordings.unseen)), None
        )


def ten(answer: str, *variants: str) -> tuple[str, ...]:
    """Ten people's answers: seven agree, three say a variant (or agree). `answer` scores 1."""
    others = [variants[i % len(variants)] if variants else answer for i in range(3)]
    return (*[answer] * 7, *others)
