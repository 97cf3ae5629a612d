"""A picture of the benchmark, with what is asked about it, and all that can be."""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image

from zoo.minivqa.parts import Part, Split

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
class Fact:
    """Something that is true of a picture, and the wordings in which it may be asked for."""

    wordings: Split[str]
    answer: str
    references: tuple[str, ...]
    kind: str

    def ask(self, part: Part, rng: random.Random) -> Question:
        return Question(self.wordings.draw(part, rng), self.answer, self.references, self.kind)


@dataclass(frozen=True, slots=True)
class Mark:
    """What is where: a character, an object, or something of one color. In pixels; upright, also where it was turned.

    `after`, of a character: the one before it, "" for the first.
    """

    name: str
    left: float
    top: float
    right: float
    bottom: float
    after: str | None = None

    def moved(self, right: float, down: float) -> Mark:
        edges = self.left + right, self.top + down, self.right + right, self.bottom + down
        return Mark(self.name, *edges, self.after)


@dataclass(frozen=True, slots=True)
class Picture:
    """`facts`: whatever may be asked, `questions` being some of it. `entities`: what was drawn from the split, by sort: for
    checks that no test entity was ever seen. `marks`: the ground before what stands on it.
    """

    image: Image.Image
    questions: tuple[Question, ...]
    entities: tuple[tuple[str, str], ...]
    facts: tuple[Fact, ...]
    marks: tuple[Mark, ...]

    def find_fact(self, question: str) -> Fact | None:
        """What a question asks for, in wordings of either half; None where this picture has no such question."""
        asked = question.strip().lower()
        return next(
            (f for f in self.facts if asked in (*f.wordings.seen, *f.wordings.unseen)), None
        )


def ten(answer: str, *variants: str) -> tuple[str, ...]:
    """Ten people's answers: seven agree, three say a variant (or agree, too). The one that is taught scores 1."""
    others = [variants[i % len(variants)] if variants else answer for i in range(3)]
    return (*[answer] * 7, *others)
