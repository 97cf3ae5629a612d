"""The four families by name: how they are drawn and scored."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from zoo.minivqa.charts import draw_charts
from zoo.minivqa.knowledge import draw_knowledge
from zoo.minivqa.parts import Part
from zoo.minivqa.picture import Picture
from zoo.minivqa.reading import draw_reading
from zoo.minivqa.scene_text import draw_scene_text


@dataclass(frozen=True, slots=True)
class Family:
    """`metric`: a function of services/core/metrics; `task`: gives prompts and matcher."""

    name: str
    paint: Callable[[Part, random.Random], Picture]
    metric: str
    task: str

    def draw(self, part: Part, seed: int, number: int) -> Picture:
        """The same picture for the same arguments."""
        return self.paint(part, random.Random(f"{seed} {self.name} {part} {number}"))


FAMILIES = {
    family.name: family
    for family in (
        Family("scene_text", draw_scene_text, "vqa_accuracy", "textvqa"),
        Family("reading", draw_reading, "word_recognition", "ocr"),
        Family("charts", draw_charts, "relaxed_accuracy", "chartqa"),
        Family("knowledge", draw_knowledge, "vqa_accuracy", "okvqa"),
    )
}
