"""One coloured shape per image, after easy-VQA: an endless renderer and a grammar of questions.

The renderer imitates easy-VQA's 64x64 pictures. The grammar is easy-VQA's own, sorted by the skill
that a question asks for.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw

SHAPES = ("circle", "rectangle", "triangle")
COLORS = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "brown": (165, 42, 42),
    "gray": (128, 128, 128),
    "green": (0, 255, 0),
    "red": (255, 0, 0),
    "teal": (0, 128, 128),
    "yellow": (255, 255, 0),
}

IMAGE_SIZE = 64
_OVERSAMPLING = 4
_PRESENT_RATE = 0.3
"""Share of yes/no questions about a present thing; easy-VQA has 1/8 (colours) and 1/3 (shapes)."""

_IS_THERE = (
    "is there a {}?",
    "is a {} present?",
    "does the image contain a {}?",
    "is there a {} in the image?",
)
_IS_THERE_NOT = (
    "is there not a {}?",
    "is no {} present?",
    "does the image not contain a {}?",
    "is there not a {} in the image?",
)
_WHAT_COLOR = ("what color is the {}?", "what is the color of the {}?")
_WHAT_SHAPE = (
    "what shape is in the image?",
    "what shape does the image contain?",
    "what shape is present?",
)


@dataclass(frozen=True, slots=True)
class Scene:
    """An image of a shape."""

    image: Image.Image
    shape: str
    color: str

    @property
    def caption(self) -> str:
        return f"{self.color} {self.shape}"


def draw_scene(rng: random.Random) -> Scene:
    """A new scene: a flat pastel ground, one shape of 9-33 pixels, smooth edges."""
    shape = rng.choice(SHAPES)
    color = rng.choice(tuple(COLORS))
    ground = tuple(rng.randint(230, 255) for _ in range(3))
    side = IMAGE_SIZE * _OVERSAMPLING
    canvas = Image.new("RGB", (side, side), ground)
    width = rng.uniform(9, 33)
    height = {"circle": width, "triangle": width * 0.87, "rectangle": rng.uniform(9, 33)}[shape]
    left = rng.uniform(0, IMAGE_SIZE - width)
    top = rng.uniform(0, IMAGE_SIZE - height)
    x0, y0, x1, y1 = (_OVERSAMPLING * edge for edge in (left, top, left + width, top + height))
    pen = ImageDraw.Draw(canvas)
    if shape == "circle":
        pen.ellipse((x0, y0, x1, y1), fill=COLORS[color])
    elif shape == "rectangle":
        pen.rectangle((x0, y0, x1, y1), fill=COLORS[color])
    else:
        pen.polygon(((x0, y1), (x1, y1), ((x0 + x1) / 2, y0)), fill=COLORS[color])
    return Scene(canvas.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX), shape, color)


def _choose(options: tuple[str, ...], truth: str, rng: random.Random) -> str:
    """The truth at _PRESENT_RATE, otherwise one of the other options."""
    if rng.random() < _PRESENT_RATE:
        return truth
    return rng.choice([option for option in options if option != truth])


def _ask_color_presence(scene: Scene, rng: random.Random, templates: tuple[str, ...]) -> str:
    return rng.choice(templates).format(f"{_choose(tuple(COLORS), scene.color, rng)} shape")


def _ask_shape_presence(scene: Scene, rng: random.Random, templates: tuple[str, ...]) -> str:
    return rng.choice(templates).format(_choose(SHAPES, scene.shape, rng))


def _ask_color(scene: Scene, rng: random.Random) -> str:
    return rng.choice(_WHAT_COLOR).format(rng.choice(("shape", scene.shape)))


def _ask_shape(scene: Scene, rng: random.Random) -> str:
    return rng.choice((*_WHAT_SHAPE, f"what is the {scene.color} shape?"))


SKILLS: dict[str, Callable[[Scene, random.Random], str]] = {
    "color present": lambda scene, rng: _ask_color_presence(scene, rng, _IS_THERE),
    "color absent": lambda scene, rng: _ask_color_presence(scene, rng, _IS_THERE_NOT),
    "shape present": lambda scene, rng: _ask_shape_presence(scene, rng, _IS_THERE),
    "shape absent": lambda scene, rng: _ask_shape_presence(scene, rng, _IS_THERE_NOT),
    "color": _ask_color,
    "shape": _ask_shape,
}
"""Functions that ask a question of each skill about a scene; `find_answer` knows the reply."""


def list_questions() -> list[str]:
    """Every question of the grammar, sorted."""
    things = (*SHAPES, *(f"{color} shape" for color in COLORS))
    questions = [
        template.format(thing) for template in (*_IS_THERE, *_IS_THERE_NOT) for thing in things
    ]
    questions += [
        template.format(thing) for template in _WHAT_COLOR for thing in ("shape", *SHAPES)
    ]
    return sorted([*questions, *_WHAT_SHAPE, *(f"what is the {color} shape?" for color in COLORS)])


def find_skill(question: str) -> str | None:
    """The skill that a question of the grammar asks for; None for other texts."""
    things = "|".join((*SHAPES, *(f"{color} shape" for color in COLORS)))
    for templates, polarity in ((_IS_THERE, "present"), (_IS_THERE_NOT, "absent")):
        for template in templates:
            if match := re.fullmatch(re.escape(template).replace(r"\{\}", f"({things})"), question):
                return f"{'shape' if match[1] in SHAPES else 'color'} {polarity}"
    if question in {
        template.format(thing) for template in _WHAT_COLOR for thing in ("shape", *SHAPES)
    }:
        return "color"
    return (
        "shape"
        if question in {*_WHAT_SHAPE, *(f"what is the {color} shape?" for color in COLORS)}
        else None
    )


def find_answer(question: str, shape: str, color: str) -> str | None:
    """The right answer; None if the question is not in the grammar or names an absent thing."""
    skill = find_skill(question)
    if skill is None:
        return None
    named = {word for word in re.findall(r"\w+", question) if word in SHAPES or word in COLORS}
    if skill == "color":
        return color if named <= {shape} else None
    if skill == "shape":
        return shape if named <= {color} else None
    return "yes" if (named <= {shape, color}) == skill.endswith("present") else "no"
