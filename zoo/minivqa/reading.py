"""Reading only, after ICDAR 2015: one printed word, cropped, blurred and turned as by a camera."""

from __future__ import annotations

import random

from PIL import Image, ImageChops, ImageFilter

from zoo.minivqa.lettering import Color, letter
from zoo.minivqa.lexicon import PRINTED_WORDS
from zoo.minivqa.parts import Part, Split
from zoo.minivqa.picture import SIDE, Fact, Picture
from zoo.minivqa.sources import FONTS, installed

WHAT = Split(
    seen=(
        "what is written in the image?",
        "what does the text say?",
        "read the word in the image.",
        "which word is this?",
        "which word is in the image?",
        "what word is written in the image?",
        "what word can you read?",
        "which word can be seen?",
        "what is the word?",
        "read the word.",
        "what text is in the image?",
        "which text is shown?",
    ),
    unseen=("what is the word in the image?", "which word is shown?"),
)
LEAST_CONTRAST = 130
HEIGHTS = (22, 36)


def draw_reading(part: Part, rng: random.Random) -> Picture:
    return draw_word(rng.choice(PRINTED_WORDS), part, rng)


def draw_word(
    word: str, part: Part, rng: random.Random, heights: tuple[int, int] = HEIGHTS
) -> Picture:
    """A word with ink of a height between `heights`, in pixels; narrowed if it is too wide."""
    font = FONTS.draw(part, rng)
    ground, ink = draw_colors(rng)
    shown = rng.choice((word, word, word.upper(), word.title()))
    written = letter(
        shown, installed(font), rng.randint(*heights), ink, outlines=part is Part.HARDER
    )
    widest = SIDE - 8
    if written.width > widest:
        written = written.resized(widest, max(10, written.height * widest // written.width))
    written = written.rotated(rng.uniform(-8, 8))
    canvas = _paper(ground, rng)
    marks = written.put_on(
        canvas,
        rng.randint(0, max(0, SIDE - written.width)),
        rng.randint(0, max(0, SIDE - written.height)),
    )
    if rng.random() < 0.4:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8)))
    fact = Fact(WHAT, word, (word,), "word")
    return Picture(canvas, (fact.ask(part, rng),), (("font", font),), (fact,), marks)


def _paper(ground: Color, rng: random.Random) -> Image.Image:
    """Uneven light on a flat ground."""
    canvas = Image.new("RGB", (SIDE, SIDE), ground)
    light = Image.linear_gradient("L").resize((SIDE, SIDE)).rotate(rng.choice((0, 90, 180, 270)))
    strength = rng.uniform(0.0, 0.15)
    shade = light.point(lambda value: round(255 - value * strength)).convert("RGB")
    return ImageChops.multiply(canvas, shade)


def draw_colors(rng: random.Random) -> tuple[Color, Color]:
    """Colors of paper and ink."""
    while True:
        ground, ink = (
            (rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)) for _ in range(2)
        )
        if abs(_light(ground) - _light(ink)) >= LEAST_CONTRAST:
            return ground, ink


def _light(color: Color) -> float:
    red, green, blue = color
    return 0.299 * red + 0.587 * green + 0.114 * blue
